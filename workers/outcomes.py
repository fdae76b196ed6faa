"""How a message can end in a worker without the call having ended."""

from dataclasses import dataclass
from typing import Literal

from gateway.errors import ServiceError

__all__ = ["Dropped", "Parked", "Refused"]


@dataclass(frozen=True, slots=True)
class Parked:
    """The call waits outside the worker, and its message comes back.

    Attributes:
        why: for operators, such as `"the breaker is open"`.
        until: Unix time in seconds when it comes back; None: when whatever it waits for lets it through.
    """

    why: str
    until: float | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """The message is a duplicate of one that is elsewhere, or of a call that has its outcome: nothing is stored for it.

    Attributes:
        why: for operators.
    """

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The message became no call. Whoever wrote it, it says nothing of a call with its id that is executed elsewhere.

    Attributes:
        error: what its producer gets.
        verified: a caller that the gateway knows signed it, or nobody has to sign. What comes with any other message,
            such as its callbacks, is not acted on.
    """

    error: ServiceError
    verified: bool

    @property
    def guard(self) -> Literal["leased", "held"]:
        """See `workers.outcome_store.unless`: a call that was parked may be refused when it comes back."""
        return "held" if self.verified else "leased"
