"""The share of failed and of slow calls in the latest seconds."""

from gateway.policy import Breaker

__all__ = ["Window"]

_BUCKETS = 10


class Window:
    """Counts of the last `breaker.window` seconds, in ten buckets of equal length: its memory never grows.

    The oldest bucket goes as a whole, so the counts are those of the last 0.9 to 1.0 windows. A clock that goes back
    counts into the latest bucket.

    Args:
        breaker: gives the window, and the shares that are too much.
    """

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._width_s = breaker.window / _BUCKETS
        self.reset()

    def reset(self) -> None:
        """Forget all calls."""
        self._newest: int | None = None
        self._calls = [0] * _BUCKETS
        self._failed = [0] * _BUCKETS
        self._slow = [0] * _BUCKETS

    def record(self, now: float, *, failed: bool, slow: bool) -> None:
        """Count a call, which may be both failed and slow.

        Args:
            now: when it ended, in seconds of any clock that goes forward from 0.
            failed, slow: by the breaker's rules.
        """
        slot = self._advance(now)
        self._calls[slot] += 1
        self._failed[slot] += failed
        self._slow[slot] += slow

    def reason(self, now: float) -> str | None:
        """Why no more calls should be made, one line for operators; None while the shares are in bounds.

        A share that is equal to its bound is too much. Fewer calls than `breaker.min_calls` are no share.
        """
        self._advance(now)
        breaker, calls = self._breaker, sum(self._calls)
        if calls < breaker.min_calls:
            return None
        said = f"of {calls} calls"
        share = sum(self._failed) / calls
        if breaker.failure_rate is not None and share >= breaker.failure_rate:
            return f"{share:.0%} {said} failed in {breaker.window:g} s".replace("%", " %")
        share = sum(self._slow) / calls
        if breaker.slow_call is not None and share >= breaker.slow_rate:
            return f"{share:.0%} {said} in {breaker.window:g} s took {breaker.slow_call:g} s or longer".replace(
                "%", " %"
            )
        return None

    def _advance(self, now: float) -> int:
        """Empty the buckets whose time is over; the index of the current one."""
        newest = int(now / self._width_s)
        if self._newest is not None:
            newest = max(newest, self._newest)
            for passed in range(self._newest + 1, newest + 1)[-_BUCKETS:]:
                slot = passed % _BUCKETS
                self._calls[slot] = self._failed[slot] = self._slow[slot] = 0
        self._newest = newest
        return newest % _BUCKETS
