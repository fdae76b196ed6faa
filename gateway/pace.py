"""How fast calls end, how many of them with errors, and how long they take: read from the fleet's history."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from gateway.history import KEY, decoded

__all__ = ["WINDOW_S", "Pace", "RecentPace"]

#: Seconds that are looked at.
WINDOW_S = 10.0
#: Entries of one round trip, and round trips of one look.
_PAGE, _PAGES = 2000, 10


@dataclass(frozen=True, slots=True)
class Pace:
    """Of one service, in the last seconds.

    Attributes:
        per_s: calls that ended, a second.
        failed: the share of them that ended with an error, of any kind: 0 … 1.
        p50_s, p99_s: seconds that calls took in workers, all attempts: the median, and what 99 of 100 stay within.
    """

    per_s: float
    failed: float
    p50_s: float
    p99_s: float


class RecentPace:
    """Reads what is new each time that it is asked. One thread at a time.

    Args:
        client: a blocking client of the Redis that holds results.
    """

    def __init__(self, client: Any) -> None:
        self._redis = client
        self._last: bytes | None = None
        #: When each call ended, of which service, whether with an error, and how long it took.
        self._ended: deque[tuple[float, str, bool, float]] = deque()

    def __call__(self) -> Mapping[str, Pace]:
        """By service; one of which no call ended is missing, and all are if there is no history.

        Raises:
            Exception: of a Redis that does not answer.
        """
        seconds, microseconds = self._redis.time()
        now = float(seconds) + float(microseconds) / 1e6
        self._read(now - WINDOW_S)
        while self._ended and self._ended[0][0] < now - WINDOW_S:
            self._ended.popleft()
        return self._paces(min(WINDOW_S, max(1.0, now - self._first_at(now))))

    def _first_at(self, now: float) -> float:
        """When the oldest entry was written that is still there: at a high rate it is younger than the window."""
        first = self._redis.xrange(KEY, count=1)
        return int(first[0][0].partition(b"-")[0]) / 1000 if first else now

    def _read(self, since: float) -> None:
        place = f"{int(since * 1000)}-0" if self._last is None else f"({self._last.decode()}"
        for _ in range(_PAGES):
            page = self._redis.xrange(KEY, place, "+", count=_PAGE)
            for number, fields in page:
                self._last = number
                entry = decoded(fields)
                if entry is not None and entry.service is not None and entry.event in ("reply", "error"):
                    self._ended.append((entry.at, entry.service, entry.event == "error", entry.spent_s or 0.0))
            if len(page) < _PAGE:
                return
            place = f"({page[-1][0].decode()}"

    def _paces(self, span_s: float) -> dict[str, Pace]:
        by_service: dict[str, list[tuple[float, bool]]] = {}
        for _, service, failed, spent_s in self._ended:
            by_service.setdefault(service, []).append((spent_s, failed))
        return {service: _pace(ended, span_s) for service, ended in by_service.items()}


def _pace(ended: list[tuple[float, bool]], span_s: float) -> Pace:
    spent = sorted(spent_s for spent_s, _ in ended)
    return Pace(
        per_s=len(ended) / span_s,
        failed=sum(failed for _, failed in ended) / len(ended),
        p50_s=spent[ceil(0.50 * len(spent)) - 1],
        p99_s=spent[ceil(0.99 * len(spent)) - 1],
    )
