"""Watches a service's breaker and parking from outside, as an operator could."""

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.faults.fleet import Fleet

__all__ = ["Sight", "Watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What was seen at one moment.

    Attributes:
        at: when, on the monotonic clock.
        phase: of the breaker.
        parked: calls that wait outside the workers.
    """

    at: float
    phase: str
    parked: int


class Watch:
    """Looks every 20 ms, in a thread of its own, as long as it is entered.

    Args:
        fleet: whose Redis is asked.
        service: that is watched.
    """

    def __init__(self, fleet: Fleet, service: str) -> None:
        self.sights: list[Sight] = []
        self._fleet = fleet
        self._service = service
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.sights.append(
                Sight(
                    at=time.monotonic(),
                    phase=self._fleet.breaker(self._service)["phase"],
                    parked=self._fleet.parked(self._service),
                )
            )

    def first(self, phase: str, *, after: float = 0.0) -> float:
        """When a phase was first seen after a moment.

        Raises:
            AssertionError: it was not seen.
        """
        found = next((sight.at for sight in self.sights if sight.phase == phase and sight.at > after), None)
        assert found is not None, f"the breaker of {self._service} was not seen {phase}"
        return found

    def phases(self, start: float, end: float) -> list[str]:
        """The phases that were seen between two moments, in order, each run of one once."""
        seen: list[str] = []
        for sight in self.sights:
            if start <= sight.at < end and (not seen or seen[-1] != sight.phase):
                seen.append(sight.phase)
        return seen

    def parked(self, at: float) -> int:
        """How many calls were parked at a moment."""
        return next((sight.parked for sight in reversed(self.sights) if sight.at <= at), 0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(10)
