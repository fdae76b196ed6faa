"""What the fleet answers to the question whether an attempt may be sent now."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from workers.resilience.breaker import Permit

__all__ = ["Ask", "Cancelled", "Drop", "Elsewhere", "Go", "Late", "Past", "Poison", "Verdict", "Wait", "Why"]

#: What an attempt waits for.
Why = Literal["breaker", "limit", "concurrency", "budget", "quarantine", "store", "paused"]


class Ask(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An attempt that wants to be sent. Encoded it is a list, in this order.

    Attributes:
        call_id, service: which call.
        number: of the attempt, 1 for the first as far as this worker knows.
        token: of the call's lease; 0 if this worker has none yet.
        owner: names this one execution of the call.
        parks: how often the message says that it was parked.
        left_s: until the call's deadline.
        patience_s: how long it would wait in the worker.
        hedge: it would run beside another attempt.
        life_s: how long it takes at most, from its start.
        recorded: the message was delivered before, and its producer had made a record of the call.
        caller: who signed it; empty: nobody has to.
    """

    call_id: str
    service: str
    number: int
    token: int
    owner: str
    parks: int
    left_s: float
    patience_s: float
    hedge: bool
    life_s: float
    recorded: bool = False
    caller: str = ""


class Past(msgspec.Struct, frozen=True):
    """What became of a call before this worker got it.

    Attributes:
        interrupted: a worker died, or lost its lease, while an attempt was on the wire.
        free: attempts that do not count.
        maybe_sent: the service may have acted on an attempt.
        spent_s: seconds in workers.
    """

    interrupted: bool = False
    free: int = 0
    maybe_sent: bool = False
    spent_s: float = 0.0


class Go(msgspec.Struct, frozen=True):
    """It may be sent, `wait_s` from now.

    Attributes:
        token: of the call's lease, for everything that follows.
        number: of the attempt, over all workers.
        wait_s: seconds to wait first.
        permit: of the breaker, to be handed back with the outcome.
        in_flight: attempts of the fleet at this service, this one included; 0 if nobody knows.
        past: what the record says.
    """

    token: int
    number: int
    wait_s: float
    permit: Permit
    in_flight: int
    past: Past = Past()


class Wait(msgspec.Struct, frozen=True):
    """It may not be sent now.

    Attributes:
        token, number, past: as in `Go`.
        why: what stands in the way.
        estimate_s: seconds until it may go at the earliest; None if that cannot be known.
        due_s: seconds until it may ask again, where a time and not a gate decides.
    """

    token: int
    number: int
    why: Why
    estimate_s: float | None
    due_s: float | None = None
    past: Past = Past()


class Late(msgspec.Struct, frozen=True):
    """Its deadline has passed.

    Attributes:
        token, number, past: as in `Go`.
        why: what it was parked for, as `Why`, or an empty string.
    """

    token: int
    number: int
    why: str
    past: Past = Past()


class Poison(msgspec.Struct, frozen=True):
    """Too many workers have ended while they had an attempt of it on the wire.

    Attributes:
        token, number: as in `Go`.
        deaths: how many workers.
    """

    token: int
    number: int
    deaths: int


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another worker, or another task of this one, has the call for `for_s` seconds at least."""

    for_s: float


@dataclass(frozen=True, slots=True)
class Drop:
    """There is nothing to do for this message."""

    why: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The call was cancelled.

    Attributes:
        maybe_sent: the service may have acted on an attempt.
        attempts: how many were started.
    """

    maybe_sent: bool
    attempts: int = 0


Verdict = Go | Wait | Late | Poison | Elsewhere | Drop | Cancelled
