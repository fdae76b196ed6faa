"""One try on the wire: what it asks, the marks that it leaves, and the answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from gateway.call import Call
from gateway.policy import Timeouts

__all__ = ["Answer", "Attempt", "Wire"]


@dataclass(slots=True)
class Wire:
    """The marks that a transport leaves as an attempt goes on, as `time.monotonic()` seconds.

    They outlive a cancellation: when a timeout ends an attempt, `sent` tells `not_sent` from `maybe_sent`.
    """

    started: float = field(default_factory=monotonic)
    pool_acquired: float | None = None
    connect_started: float | None = None
    connected: float | None = None
    sent: float | None = None
    """When the first byte of the request may have been handed to the socket."""
    first_byte: float | None = None
    body_out: int = 0
    """Bytes of the request's body or message."""
    body_in: int = 0
    """Bytes of the reply's body or messages that came, before decompression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try on the wire.

    Attributes:
        call: what is asked, complete: no reference to an earlier result is left in it.
        number: 1 for the first.
        headers: what the gateway adds (auth scheme, `x-correlation-id`, `x-request-id`, `traceparent`,
            `idempotency-key`, an interceptor's own), names in lower case. On gRPC they are the metadata. They win over
            headers of the same name in the call.
        timeouts: `connect`, `pool` and `read` bound their stages in the transport, with their own failure each. The
            whole attempt is bounded from outside by `budget_s`, by cancelling it.
        budget_s: seconds that this attempt may take in all; gRPC sends it as `grpc-timeout`.
        max_reply_bytes: bound of the decoded reply.
        max_messages: bound of the messages collected from a gRPC server stream.
        wire: the marks to leave.
        sign: makes headers of the body as it goes out; None: nobody wants to.
    """

    call: Call
    number: int
    headers: Mapping[str, str]
    timeouts: Timeouts
    budget_s: float
    max_reply_bytes: int
    max_messages: int
    wire: Wire = field(default_factory=Wire)
    sign: Callable[[bytes], Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the service answered when it answered yes; see `gateway.reply.Reply` for the shapes."""

    status: int | str
    headers: Mapping[str, str]
    data: Any
