"""The concurrency that a service bears, found from its latency."""

from collections import deque
from math import inf, sqrt
from statistics import median

from gateway.policy import Limit

__all__ = ["Adaptive"]

_ROUND_S = 1.0
#: A round lasts as many latencies at least, or most of its attempts would have begun under the limit before.
_ROUND_LATENCIES = 3
_ENOUGH = 10
_KEPT = 500
_BASE_ROUNDS = 60
#: Latency over its base from which on attempts are taken to queue in the service.
_TOLERANCE = 1.5
#: Where a decrease ends, as a share of what the service bears: below it, so that its queue drains and the next round
#: shows the latency without one.
_DRAIN = 0.9
_STEEPEST = 0.5
_FAILED_SHARE = 0.1
_AFTER_FAILURES = 0.75
#: Share of the limit that must have been in use before it grows.
_USED = 0.8
#: By how much a decrease must have lowered latency, for a given fall of the attempts in flight.
_FEWER = 0.8
_FASTER = 0.9


class Adaptive:
    """Additive increase, and a decrease in proportion to how far latency is over its base.

    By Little's law a service that answers in `base` seconds, and in `latency` seconds under `n` attempts, bears
    `n * base / latency` of them before they queue; that is the gradient of Netflix's concurrency-limits ("Performance
    Under Load", 2018) after TCP Vegas (Brakmo and Peterson, 1995). The growth by the root of the limit is theirs, too.
    The base is the lowest median of the latest 60 rounds. When fewer attempts do not make the service faster, it is not
    a queue that slows it, and what it takes now becomes the base; nor do those queue that are sent one at a time. A new
    base is tried with half the limit, as it may have been measured with a queue.

    A round is at least one second, three latencies and ten samples. All workers of a fleet may feed one limit, one
    adjustment a second.

    Args:
        limit: `concurrency` is the most.
    """

    def __init__(self, limit: Limit) -> None:
        self._most = float(limit.concurrency)
        self._bases: deque[float] = deque(maxlen=_BASE_ROUNDS)
        #: Latency and attempts in flight of the round before, if that one queued.
        self._queued: tuple[float, float] | None = None
        self._adjusted_at = -inf
        self._round_s = _ROUND_S
        self._begin()

    def _begin(self) -> None:
        self._samples = 0
        self._failed = 0
        self._in_flight = 0
        self._peak = 0
        self._latencies: deque[float] = deque(maxlen=_KEPT)

    def sample(self, latency_s: float, in_flight: int, ok: bool) -> None:
        """An attempt ended.

        Args:
            latency_s: what it took.
            in_flight: attempts that were on the wire when it ended, itself included.
            ok: false for a timeout and a service that is not available; how long that took says nothing of its work.
        """
        self._samples += 1
        self._in_flight += in_flight
        self._peak = max(self._peak, in_flight)
        if ok:
            self._latencies.append(latency_s)
        else:
            self._failed += 1

    def adjust(self, now: float, current: float) -> float | None:
        """The limit from now on, from 1 to the most; None: as it is, or it is not known yet.

        Args:
            now: seconds of any clock that goes forward.
            current: the limit that the samples were taken under.
        """
        if now - self._adjusted_at < self._round_s or self._samples < _ENOUGH:
            return None
        self._adjusted_at = now
        wanted = min(self._most, max(1.0, self._wanted(current)))
        self._begin()
        return None if wanted == current else wanted

    def _wanted(self, current: float) -> float:
        if self._failed >= _FAILED_SHARE * self._samples:
            self._queued = None
            return current * _AFTER_FAILURES
        latency, in_flight = median(self._latencies), self._in_flight / self._samples
        self._round_s = max(_ROUND_S, _ROUND_LATENCIES * latency)
        base = self._base(latency, in_flight, current)
        if latency > _TOLERANCE * base:
            self._queued = latency, in_flight
            return max(current * _STEEPEST, min(current, in_flight) * base / latency * _DRAIN)
        self._queued = None
        if self._peak < _USED * int(current):
            return current
        return current * _STEEPEST if len(self._bases) == 1 else current + sqrt(current)

    def _base(self, latency: float, in_flight: float, current: float) -> float:
        """Latency without a queue."""
        if self._queued is not None:
            before, in_flight_before = self._queued
            helped = in_flight > _FEWER * in_flight_before or latency <= _FASTER * before
            if current <= 1 or not helped:
                self._bases.clear()
        self._bases.append(latency)
        return min(self._bases)

    def __repr__(self) -> str:
        base = f"{min(self._bases) * 1000:.1f} ms" if self._bases else "unknown"
        return f"<Adaptive base {base}, {self._samples} samples in this round>"
