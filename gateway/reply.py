"""The reply of a call, and where its time went."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.kombu_tag import has_kombu_tag

__all__ = ["Reply", "Timing"]


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time went, in seconds; None where a stage did not happen or cannot be seen.

    Attributes:
        queued: from `submit` until a worker started the call. Clocks of two hosts are compared, so it is clamped at 0.
        pool_wait: waiting for a free connection of the pool.
        connect: name resolution, TCP and TLS; None when a kept-alive connection was reused.
        first_byte: from sending the request until the first byte of the answer (gRPC: the initial metadata).
        total: the call in the worker, over all attempts.
    """

    queued: float | None = None
    pool_wait: float | None = None
    connect: float | None = None
    first_byte: float | None = None
    total: float | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the service answered.

    Attributes:
        data: decoded JSON; text for a textual content type; bytes for any other; for gRPC the message as JSON, and the
            list of messages for a server stream; for GraphQL the `data`.
        status: HTTP status (int), or `"OK"` for gRPC.
        headers: reply headers, or gRPC initial and trailing metadata, names in lower case; repeated ones are joined
            with `", "` (RFC 9110, section 5.3).
        attempts: how many requests were started.
        timing: where the time went.
        correlation_id, request_id: as sent; the request id is that of the attempt that answered.
        service, operation, protocol: what was called.
        call_id: `PendingCall.id`.
    """

    data: Any
    status: int | str
    headers: Mapping[str, str]
    attempts: int
    timing: Timing
    correlation_id: str
    request_id: str
    service: str
    operation: str
    protocol: str
    call_id: str

    def to_wire(self) -> dict[str, Any]:
        """The reply as plain JSON, the value of the Celery task."""
        wire: dict[str, Any] = msgspec.to_builtins(self)
        if isinstance(self.data, bytes):
            wire["data"] = base64.b64encode(self.data).decode("ascii")
            wire["encoding"] = "base64"
        elif has_kombu_tag(self.data):
            wire["data"] = json.dumps(self.data)
            wire["encoding"] = "json"
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Reply":
        """The reply of a Celery task's value.

        Raises:
            msgspec.ValidationError: it is not one.
        """
        fields = dict(wire)
        match fields.pop("encoding", None):
            case "base64":
                fields["data"] = base64.b64decode(fields["data"])
            case "json":
                fields["data"] = json.loads(fields["data"])
        return msgspec.convert(fields, cls)

    def __repr__(self) -> str:
        return f"<Reply {self.summary()}>"

    def summary(self) -> str:
        """One line without the payload, for logs and Flower."""
        spent = "" if self.timing.total is None else f" in {self.timing.total * 1000:.0f} ms"
        tries = "" if self.attempts == 1 else f" after {self.attempts} attempts"
        return f"{self.status}{spent}{tries} · {self.service} {self.operation} · correlation_id={self.correlation_id}"
