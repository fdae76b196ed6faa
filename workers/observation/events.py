"""The events of a worker. All are told on the loop that executes the calls, and at the moment that they tell of.

    CallTaken ─┬─ AttemptHeld* ─ AttemptStarted ─ AttemptEnded ─┐*
               ├─ CallParked, CallDropped or CallEnded ─────────┘
               └─ CallLeft, last, whatever became of it
    CallRefused, for a message that did not become a call

A call that is cancelled may end after it left: nobody knows before whether its message comes again.

An event refers to the call as it is; who keeps something of it takes it out at once. Nothing in it is a secret: results
are cleaned before they are told.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import msgspec

from gateway.codec import decode
from gateway.dead_letter import DeadLetter
from gateway.errors import ServiceError
from gateway.outcome import Failure
from gateway.reply import Reply
from gateway.routing import correlation_id_of, shortened
from workers.attempt import Answer

if TYPE_CHECKING:
    from workers.execution import Execution

__all__ = [
    "AttemptEnded",
    "AttemptHeld",
    "AttemptStarted",
    "BreakerChanged",
    "CallDropped",
    "CallEnded",
    "CallLeft",
    "CallParked",
    "CallRefused",
    "CallTaken",
    "Event",
    "LetterKept",
]


class CallTaken(msgspec.Struct, frozen=True, gc=False):
    """A message became a call: it is decoded, and who asks may."""

    execution: "Execution"


class CallRefused(msgspec.Struct, frozen=True, gc=False):
    """A message did not become a call, or was cancelled before it did.

    Attributes:
        call_id: the message's id.
        error: what its producer gets.
        correlation_id, service, operation, caller: as far as they can be read.
    """

    call_id: str
    error: ServiceError
    correlation_id: str | None = None
    service: str | None = None
    operation: str | None = None
    caller: str | None = None

    @classmethod
    def of(cls, call_id: str, error: ServiceError, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Self:
        """With what the message says of itself."""
        try:
            envelope = decode(args, kwargs)
        except ServiceError:
            return cls(call_id, error, correlation_id_of(kwargs))
        call = envelope.call
        return cls(call_id, error, envelope.correlation_id, call.service, shortened(call.operation), envelope.caller)


class AttemptHeld(msgspec.Struct, frozen=True, gc=False):
    """The next attempt may not be sent yet, and waits in the worker.

    Attributes:
        why: `breaker`, `limit`, `concurrency`, `budget`, `quarantine`, `store` or `paused`.
    """

    execution: "Execution"
    why: str


class AttemptStarted(msgspec.Struct, frozen=True, gc=False):
    """An attempt begins: `execution.number`; `execution.hedge` says whether it runs beside another one."""

    execution: "Execution"


class AttemptEnded(msgspec.Struct, frozen=True, gc=False):
    """An attempt is over.

    Attributes:
        result: what came of it; None: it was cancelled.
        elapsed_s: seconds that it took.
    """

    execution: "Execution"
    result: Answer | Failure | None
    elapsed_s: float


class CallParked(msgspec.Struct, frozen=True, gc=False):
    """The call waits outside the worker, and comes again.

    Attributes:
        why: what it waits for.
        until: Unix seconds when it may go on; None: when a gate opens.
    """

    execution: "Execution"
    why: str
    until: float | None


class CallDropped(msgspec.Struct, frozen=True, gc=False):
    """The message was a duplicate, or another worker took the call over."""

    execution: "Execution"
    why: str


class CallEnded(msgspec.Struct, frozen=True, gc=False):
    """The call has its outcome, which is stored next."""

    execution: "Execution"
    outcome: Reply | ServiceError


class CallLeft(msgspec.Struct, frozen=True, gc=False):
    """This worker does not execute the call any more."""

    execution: "Execution"


class LetterKept(msgspec.Struct, frozen=True, gc=False):
    """A dead letter is written next."""

    letter: DeadLetter


class BreakerChanged(msgspec.Struct, frozen=True, gc=False):
    """This worker saw, or learned from the fleet, that a breaker changed.

    Attributes:
        was, phase: `closed`, `open` or `half-open`; None: nobody knew.
    """

    service: str
    was: str | None
    phase: str


Event: TypeAlias = (
    CallTaken
    | CallRefused
    | AttemptHeld
    | AttemptStarted
    | AttemptEnded
    | CallParked
    | CallDropped
    | CallEnded
    | CallLeft
    | LetterKept
    | BreakerChanged
)
