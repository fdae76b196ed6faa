"""Dead letters: calls that ended for good without a reply, kept so that they can be looked at and replayed.

A letter shows names, ids, sizes and times. Its message holds the payload, and is there for a replay alone.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from gateway.errors import (
    CallCancelledError,
    Delivery,
    GraphQLError,
    ServiceAuthError,
    ServiceError,
    ServiceRejectedError,
)

__all__ = [
    "HISTORY_FIELD",
    "MOST_ATTEMPTS",
    "NO_ANSWER",
    "REPLAY_HEADER",
    "AttemptMade",
    "Cause",
    "DeadLetter",
    "Reason",
    "is_kept",
    "merge",
    "pack_history",
    "read_history",
    "replay_of",
]

#: Of a message: id of the dead call that it replays.
REPLAY_HEADER = "gateway_replay_of"
#: Of a call's record, see `gateway.records`: the attempts of workers that parked it, as `pack_history` wrote them.
HISTORY_FIELD = "history"
#: In place of an error's name, where an attempt was given up before the service had answered.
NO_ANSWER = "no answer"
#: Of one letter: the latest are kept.
MOST_ATTEMPTS = 50

_NULL = msgspec.Raw(b"null")


class Reason(StrEnum):
    """Why a call is dead."""

    FAILED = "failed"
    """It ended with an error."""

    POISONOUS = "poisonous"
    """Workers ended while they had it."""

    UNREADABLE = "unreadable"
    """Its message could not be read as a call."""


class AttemptMade(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt of a call, when it was over.

    Attributes:
        number: of the attempt, over all workers.
        at: when it was started, in Unix seconds of the fleet's clock.
        took_s: how long it took.
        worker: who made it, `host:pid`.
        outcome: name of the error, `"reply"`, or `NO_ANSWER`.
        status: HTTP status or name of the gRPC status code, if the service answered.
        delivery: whether the service may have acted on it.
    """

    number: int
    at: float
    took_s: float
    worker: str
    outcome: str
    status: int | str | None = None
    delivery: Delivery = Delivery.NOT_SENT


class Cause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a call ended with.

    Attributes:
        type: name of the error's class.
        message: what the gateway says about it; never what the service said, which may repeat the payload.
        delivery, status: as in `ServiceError`.
    """

    type: str
    message: str
    delivery: Delivery = Delivery.NOT_SENT
    status: int | str | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """See the module.

    Attributes:
        id: of the call; made from its message where that had none.
        reason, cause: why it is dead.
        service, operation, protocol: what was called; None where its message does not say.
        caller, correlation_id, request_id: as in the message.
        attempts: those that are known, in order.
        started: how many were started; more than `attempts` if workers died with some, or there were very many.
        repeatable: whether it can be sent again and nothing happens twice, as far as the gateway knows.
        parks: how often it was parked.
        deadline_s: how long its producer was going to wait, in seconds; None where its message does not say.
        queue: where its message was taken from.
        message_bytes: size of the message.
        message: the message, JSON as `workers.parked_message` packs it; null if it was too large or is no text.
        replay_of: the dead call that it was itself a replay of.
        died_at: in Unix seconds of the clock of the Redis that keeps it.
        replays: how often it was replayed.
        replayed_at, replayed_as: when it last was, and the id of the call that did it.
    """

    id: str
    reason: Reason
    cause: Cause
    service: str | None = None
    operation: str | None = None
    protocol: str | None = None
    caller: str | None = None
    correlation_id: str | None = None
    request_id: str | None = None
    attempts: tuple[AttemptMade, ...] = ()
    started: int = 0
    repeatable: bool = True
    parks: int = 0
    deadline_s: float | None = None
    queue: str = ""
    message_bytes: int = 0
    message: msgspec.Raw = _NULL
    replay_of: str | None = None
    died_at: float = 0.0
    replays: int = 0
    replayed_at: float | None = None
    replayed_as: str | None = None

    @property
    def has_message(self) -> bool:
        """Whether there is anything to replay."""
        return bytes(self.message) != b"null"

    @property
    def may_have_acted(self) -> bool:
        """Whether a replay may do something a second time that must not be done twice."""
        return self.reason is Reason.POISONOUS or not self.repeatable


def replay_of(header: object) -> str | None:
    """The id in that header; None if there is none that can be shown."""
    return header if isinstance(header, str) and len(header) <= 200 and header.isprintable() else None


def is_kept(error: type[ServiceError]) -> bool:
    """Whether a call that ended so becomes a dead letter.

    Not if its producer cancelled it, and not if the service understood it and said no: the same call would be refused
    again. Credentials are another matter: they can be put right.
    """
    if issubclass(error, ServiceAuthError):
        return True
    return not issubclass(error, CallCancelledError | ServiceRejectedError | GraphQLError)


def pack_history(history: Sequence[AttemptMade]) -> str:
    """Attempts as a JSON array, the latest `MOST_ATTEMPTS` of them."""
    return msgspec.json.encode(list(history[-MOST_ATTEMPTS:])).decode()


def read_history(packed: str | bytes) -> tuple[AttemptMade, ...]:
    """What `pack_history` wrote; nothing if it cannot be read."""
    try:
        return tuple(msgspec.json.decode(packed, type=list[AttemptMade]))
    except (msgspec.DecodeError, UnicodeError):
        return ()


def merge(*histories: Iterable[AttemptMade]) -> tuple[AttemptMade, ...]:
    """Attempts of several workers in order, each once, the latest `MOST_ATTEMPTS`."""
    known = {(made.number, made.at, made.worker): made for history in histories for made in history}
    return tuple(sorted(known.values(), key=lambda made: (made.number, made.at)))[-MOST_ATTEMPTS:]
