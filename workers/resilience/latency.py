"""The latest latencies of a service's operations."""

from collections import OrderedDict, deque
from math import ceil

__all__ = ["Latencies"]

_ENOUGH = 20
#: After how many new latencies they are sorted again: a percentile of hundreds moves little with fewer.
_STALE_AFTER = 20


class Latencies:
    """Percentiles of each operation's latest latencies; bounded, whatever the operations are called.

    Args:
        kept: latencies of an operation.
        operations: how many operations; the one that was not used for the longest time is forgotten.
    """

    def __init__(self, kept: int = 200, operations: int = 1000) -> None:
        self._kept = kept
        self._operations = operations
        self._of: OrderedDict[str, _Latest] = OrderedDict()

    def __len__(self) -> int:
        """How many operations are known."""
        return len(self._of)

    def record(self, key: str, seconds: float) -> None:
        """An attempt of operation `key` was answered after `seconds`."""
        latest = self._of.get(key)
        if latest is None:
            latest = self._of[key] = _Latest(self._kept)
            if len(self._of) > self._operations:
                self._of.popitem(last=False)
        else:
            self._of.move_to_end(key)
        latest.record(seconds)

    def percentile(self, key: str, percentile: float) -> float | None:
        """Seconds that this share of the latest attempts took at most; None while fewer than 20 are known.

        Args:
            key: the operation.
            percentile: above 0, up to 100; by the nearest-rank method, so it is a latency that was measured.
        """
        latest = self._of.get(key)
        if latest is None:
            return None
        self._of.move_to_end(key)
        return latest.percentile(percentile)


class _Latest:
    __slots__ = ("_latencies", "_sorted", "_unsorted")

    def __init__(self, kept: int) -> None:
        self._latencies: deque[float] = deque(maxlen=kept)
        self._sorted: list[float] = []
        self._unsorted = 0

    def record(self, seconds: float) -> None:
        self._latencies.append(seconds)
        self._unsorted += 1

    def percentile(self, percentile: float) -> float | None:
        if len(self._latencies) < _ENOUGH:
            return None
        if self._unsorted >= _STALE_AFTER:
            self._sorted = sorted(self._latencies)
            self._unsorted = 0
        return self._sorted[ceil(len(self._sorted) * percentile / 100) - 1]
