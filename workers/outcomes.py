"""How a message can end in a worker without the call having ended."""

from dataclasses import dataclass

__all__ = ["Dropped", "Parked"]


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
