"""A call's message while the call is parked: all that is needed to publish it again unchanged."""

from dataclasses import dataclass
from typing import Any, Self

from kombu.utils.json import dumps, loads

from gateway import message_headers

__all__ = ["ParkedMessage"]

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
        try:
            fields: dict[str, Any] = loads(packed)
        except Exception as error:  # kombu's own types fail in their own ways
            raise ValueError(f"it is not JSON that kombu can read ({type(error).__name__})") from None
        if fields["v"] != _VERSION:
            raise ValueError(f"version {fields['v']} of parked messages is not known")
        headers = {**fields["headers"], message_headers.PARKS: fields["parks"], message_headers.MAYBE: fields["maybe"]}
        return cls(queue=fields["queue"], body=fields["body"], headers=headers, properties=fields["properties"])
