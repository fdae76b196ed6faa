"""A call on its way: the call, who asks, until when, and what ties it to a trace. The keyword arguments of the task."""

from math import isfinite
from typing import Final, Literal

import msgspec

from gateway.call import Call
from gateway.errors import InvalidCallError

__all__ = ["DEFAULT_DEADLINE_S", "MAX_DEADLINE_S", "VERSION", "Envelope"]

#: Version of the message contract. A worker refuses any other.
VERSION: Final = 1
#: For a message that names no deadline.
DEFAULT_DEADLINE_S = 30.0
#: Longest deadline that is accepted: a call that waits longer is a schedule, not a call.
MAX_DEADLINE_S = 24 * 3600.0

_MAX_ID = 200


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What travels through the broker.

    Attributes:
        version: of the contract, see `docs/message-contract.md`.
        call: what is asked.
        correlation_id: ties the call to what it belongs to, across services; made by the worker if absent.
        request_id: of the first attempt; made by the worker if absent. Later attempts add `-2`, `-3`, …
        deadline_at: when nobody waits any more, as a Unix time in seconds.
        deadline_s: the same as seconds from `sent_at`, or from when a worker receives it. Not with `deadline_at`.
        sent_at: when the message was enqueued, as a Unix time in seconds.
        idempotency_key: sent to the service on every attempt, which makes the call safe to repeat.
        caller: who asks.
        signature: the caller's, see `gateway.signing`.
        sealed: header values that only workers can read, see `gateway.sealing`.
        traceparent, tracestate: W3C trace context of the producer.
        uses_previous: whether the call refers to the result of the step before it in a chain or chord.
    """

    version: Literal[1]
    call: Call
    correlation_id: str | None = None
    request_id: str | None = None
    deadline_at: float | None = None
    deadline_s: float | None = None
    sent_at: float | None = None
    idempotency_key: str | None = None
    caller: str | None = None
    signature: str | None = None
    sealed: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    uses_previous: bool = False

    def __post_init__(self) -> None:
        for name in ("correlation_id", "request_id", "idempotency_key", "caller"):
            check_id(name, getattr(self, name))
        if self.deadline_at is not None and self.deadline_s is not None:
            raise InvalidCallError.because("deadline_s", "deadline_at is given too", "pass one of them")
        for name in ("deadline_at", "sent_at"):
            moment = getattr(self, name)
            if moment is not None and not (isfinite(moment) and moment > 0):
                raise InvalidCallError.because(name, f"{moment!r} is not a Unix time", "pass seconds since 1970")
        if self.deadline_s is not None:
            check_deadline("deadline_s", self.deadline_s)


def check_deadline(field: str, seconds: object) -> None:
    """Refuse a deadline that is not a positive number of seconds.

    Raises:
        InvalidCallError: names the field and the cure.
    """
    # Compared, not converted: an integer may be too long for a float.
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise InvalidCallError.because(
            field, f"{seconds!r} is not a positive number of seconds", "pass the seconds from now, such as 10.0"
        )
    if seconds > MAX_DEADLINE_S:
        raise InvalidCallError.because(
            field, f"it is longer than {MAX_DEADLINE_S:.0f} s", "schedule the call nearer to its time"
        )


def check_id(field: str, value: object) -> None:
    """Refuse an id that cannot be sent as a header.

    Raises:
        InvalidCallError: names the field and the cure.
    """
    if value is None:
        return
    if not isinstance(value, str) or not value or len(value) > _MAX_ID:
        raise InvalidCallError.because(
            field, f"{str(value)[:40]!r} is not text of 1 to {_MAX_ID} characters", "pass a short string"
        )
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise InvalidCallError.because(
            field, "it is not printable ASCII, or has spaces around it", "it is sent as a header: encode or trim it"
        )
