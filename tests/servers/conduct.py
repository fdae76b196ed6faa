"""What a counting service does with the requests for a path."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["WELL", "Conduct"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How a path misbehaves, and when; at all other times it answers 200 at once.

    Attributes:
        action: what it does: answer; cut the connection with a reset once the request is read; say nothing.
        status: of the answer.
        delay_s: from the request to the answer, or to the reset.
        retry_after: the answer's `Retry-After`.
        first: only the first so many arrivals are treated so; None: all.
        since_s, until_s: only what arrives between these times is, in seconds from when this was set.
        every: only each so-manieth arrival is; 1: each.
        well_s: how long it takes to answer when it does not misbehave.
    """

    action: Literal["answer", "reset", "hang"] = "answer"
    status: int = 200
    delay_s: float = 0.0
    retry_after: str | None = None
    first: int | None = None
    since_s: float = 0.0
    until_s: float = float("inf")
    every: int = 1
    well_s: float = 0.0

    def now(self, *, number: int, elapsed_s: float) -> "Conduct":
        """What is done with one arrival.

        Args:
            number: of the arrival at this path, from 1.
            elapsed_s: seconds since this was set.
        """
        misbehaves = (
            (self.first is None or number <= self.first)
            and self.since_s <= elapsed_s < self.until_s
            and number % self.every == 0
        )
        return self if misbehaves else Conduct(delay_s=self.well_s)


WELL = Conduct()
