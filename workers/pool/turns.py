"""Whose turn it is: what was never tried first, then what failed before, each at a time of its own."""

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

__all__ = ["FIRST_DELAY_S", "LAST_DELAY_S", "Turns"]

#: Seconds between two tries, doubled from the first to the last; always the first while the worker ends.
FIRST_DELAY_S, LAST_DELAY_S = 0.5, 10.0

T = TypeVar("T")


class Turns(Generic[T]):
    """Work for threads that must not sleep over one piece of it.

    What failed comes again after a delay that doubles with each of its own failures. While what all of it needs is
    away, one piece is tried now and then, also of those that were never tried: see `rest`. That is for one thread; more
    of them try as many at a time.

    Args:
        clock: the monotonic one.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._urgent: deque[T] = deque()
        self._fresh: deque[T] = deque()
        self._failed: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()
        self._rests_until = 0.0
        self._rest_s = FIRST_DELAY_S
        self._hurried = False
        self._closed = False

    def put(self, item: T, *, urgent: bool = False) -> None:
        """Add one that was never tried; one that is urgent does not wait for what is away."""
        with self._changed:
            (self._urgent if urgent else self._fresh).append(item)
            self._changed.notify()

    def put_back(self, item: T, failures: int) -> None:
        """Add one that has failed so many times. After `close` it is forgotten."""
        with self._changed:
            delay_s = FIRST_DELAY_S if self._hurried else _doubled(failures)
            heapq.heappush(self._failed, (self._clock() + delay_s, next(self._numbers), item))
            self._changed.notify()

    def rest(self) -> None:
        """What all need is away: one is tried after a delay, which doubles until `well`."""
        with self._changed:
            self._rests_until = self._clock() + (FIRST_DELAY_S if self._hurried else self._rest_s)
            self._rest_s = min(self._rest_s * 2, LAST_DELAY_S)

    def well(self) -> None:
        """What all need is there."""
        with self._changed:
            if self._rests_until:
                self._rests_until, self._rest_s = 0.0, FIRST_DELAY_S
                self._changed.notify_all()

    @property
    def resting(self) -> bool:
        """Whether it was away when it was last needed."""
        return self._rests_until > 0.0

    def hurry(self) -> None:
        """Let nothing wait for longer than the first delay from now on."""
        with self._changed:
            self._hurried = True
            soon = self._clock() + FIRST_DELAY_S
            self._failed = [(min(due, soon), number, item) for due, number, item in self._failed]
            heapq.heapify(self._failed)
            self._rests_until = min(self._rests_until, soon)
            self._changed.notify_all()

    def close(self) -> None:
        """Give what was never tried, and nothing else any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def get(self) -> T | None:
        """The next one, for which it waits; None: it is closed."""
        with self._changed:
            while True:
                found, wait_s = self._next(self._clock())
                if found is not None:
                    return found
                if self._closed:
                    return None
                self._changed.wait(wait_s)

    def _next(self, now: float) -> tuple[T | None, float | None]:
        """Whose turn it is, or the seconds until it can be somebody's; None: until something is added."""
        if self._urgent:
            return self._urgent.popleft(), None
        if self._closed:
            return (self._fresh.popleft() if self._fresh else None), None
        if not self._fresh and not self._failed:
            return None, None
        ready_at = self._rests_until if self._fresh else max(self._rests_until, self._failed[0][0])
        if now < ready_at:
            return None, ready_at - now
        return (self._fresh.popleft() if self._fresh else heapq.heappop(self._failed)[2]), None


def _doubled(failures: int) -> float:
    return min(FIRST_DELAY_S * 2.0 ** min(failures - 1, 10), LAST_DELAY_S)
