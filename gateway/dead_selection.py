"""Which dead letters are meant: a slice of them, by what is known without their payload."""

from dataclasses import dataclass

from gateway.dead_letter import DeadLetter, Reason

__all__ = ["Selection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """All conditions must hold; None: any.

    Attributes:
        service: its name.
        error: name of the error's class, in any case.
        reason: why they are dead.
        since_s: they died so many seconds ago at most.
        replayed: whether they were replayed before.
    """

    service: str | None = None
    error: str | None = None
    reason: Reason | None = None
    since_s: float | None = None
    replayed: bool | None = None

    @property
    def is_all(self) -> bool:
        """Whether there is no condition."""
        return self == Selection()

    def has(self, letter: DeadLetter, now: float) -> bool:
        """Whether a letter is among them; `now` in the time that letters die in."""
        return (
            (self.service is None or letter.service == self.service)
            and (self.error is None or letter.cause.type.lower() == self.error.lower())
            and (self.reason is None or letter.reason is self.reason)
            and (self.since_s is None or now - letter.died_at <= self.since_s)
            and (self.replayed is None or (letter.replays > 0) is self.replayed)
        )
