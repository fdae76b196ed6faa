"""A call's message while the call is parked: all that is needed to publish it again unchanged."""

from dataclasses import dataclass
from typing import Any, Self

from kombu.utils.json import dumps, loads

__all__ = ["MAYBE_HEADER", "PARKS_HEADER", "ParkedMessage"]

#: How often the call was parked when its message came back; tells a stale duplicate from the call.
PARKS_HEADER = "gateway_parks"
#: 1 if the service may have acted on an attempt before.
MAYBE_HEADER = "gateway_maybe"

_VERSION = 1
_PROPERTIES = ("content_type", "content_encoding", "reply_to", "correlation_id", "priority")
#: What belongs to one passage through the broker: kombu has decompressed the body, and RabbitMQ counts anew.
_OF_ONE_PASSAGE = ("compression", "x-acquired-count", "x-death", "x-delivery-count", "x-first-death-", "x-last-death-")


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """See the module.

    Attributes:
        queue: where the worker took it from, as far as the broker says: the routing key.
        body: as the producer wrote it.
        headers: as the producer sent them, without what a worker adds for itself.
        properties: `content_type`, `content_encoding`, `reply_to`, `correlation_id`, `priority`.
    """

    queue: str
    body: str
    headers: dict[str, Any]
    properties: dict[str, Any]

    @classmethod
    def of(cls, message: Any) -> Self:
        """From a kombu message.

        Raises:
            ValueError: the body is no text.
        """
        properties = dict(message.properties or {})
        body = message.body
        if isinstance(body, bytes | bytearray | memoryview):
            encoding = message.content_encoding
            body = bytes(body).decode("utf-8" if not encoding or encoding == "binary" else encoding)
        return cls(
            queue=str((message.delivery_info or {}).get("routing_key") or ""),
            body=body,
            headers={name: value for name, value in message.headers.items() if not name.startswith(_OF_ONE_PASSAGE)},
            properties={
                **{name: properties.get(name) for name in _PROPERTIES},
                "content_type": message.content_type,
                "content_encoding": "utf-8",
            },
        )

    def pack(self) -> bytes:
        """As JSON, in UTF-8."""
        fields = {
            "v": _VERSION,
            "queue": self.queue,
            "body": self.body,
            "headers": self.headers,
            "properties": self.properties,
        }
        packed: str = dumps(fields, ensure_ascii=False)
        return packed.encode()

    @classmethod
    def unpack(cls, packed: str | bytes) -> Self:
        """From what was parked: as `pack` made it, with `parks` and `maybe` beside, which become headers.

        Raises:
            ValueError, TypeError, KeyError: it is no parked message.
        """
        fields: dict[str, Any] = loads(packed)
        if fields["v"] != _VERSION:
            raise ValueError(f"version {fields['v']} of parked messages is not known")
        headers = {**fields["headers"], PARKS_HEADER: fields["parks"], MAYBE_HEADER: fields["maybe"]}
        return cls(queue=fields["queue"], body=fields["body"], headers=headers, properties=fields["properties"])
