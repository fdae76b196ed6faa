"""How fast a service is asked: its rate limit, and what it teaches by answering 429."""

from math import inf

from gateway.policy import Limit

__all__ = ["Penalty", "RateLimit"]

_FIRST_PENALTY_S = 0.5
_LONGEST_PENALTY_S = 30.0
#: One answer must not stop all calls for a day: after so long the service is asked again.
_LONGEST_BLOCK_S = 300.0


class RateLimit:
    """The generic cell rate algorithm: one number is its whole state, and it is exact.

    That number is the theoretical arrival time, when the next attempt would come if all came evenly spaced (ITU-T
    I.371, annex A.2; Brandur Leach, "Rate Limiting, Cells, and GCRA", 2015). In any time t never more than
    `burst + t * rate` slots begin.

    Args:
        limit: `rate` and `burst`; without a rate nobody waits.
    """

    def __init__(self, limit: Limit) -> None:
        self._interval_s = limit.interval_s
        self._tolerance_s = (limit.burst - 1) * limit.interval_s
        self._tat = -inf

    def wait_s(self, now: float) -> float:
        """Seconds until the next slot begins; 0: it has begun."""
        if not self._interval_s:
            return 0.0
        # With tat = max(tat, now) and the slot's own interval, allow_at = tat + interval - burst * interval. The
        # interval cancels out before it can leave a rounding error that is longer than no patience at all.
        return max(0.0, max(self._tat, now) - self._tolerance_s - now)

    def take(self, now: float, patience_s: float) -> float | None:
        """Take the next slot and tell in how many seconds it begins; None: not taken, as it begins later than that.

        Args:
            now: seconds of any clock that goes forward.
            patience_s: seconds that the attempt may wait at most.
        """
        wait = self.wait_s(now)
        if wait > patience_s:
            return None
        if self._interval_s:
            self._tat = max(self._tat, now) + self._interval_s
        return wait

    def __repr__(self) -> str:
        if not self._interval_s:
            return "<RateLimit none>"
        return f"<RateLimit {1 / self._interval_s:g}/s, burst {round(self._tolerance_s / self._interval_s) + 1}>"


class Penalty:
    """A block that is learned from the service's own limit.

    What the service says is believed. Where it says nothing, the block doubles with each refusal that comes after the
    block before had ended; refusals of attempts that were under way meanwhile are the same news.

    Attributes:
        blocked_until: no attempt before that, on the clock of `now`; 0 when nothing was learned.
        penalty_s: length of the latest block that the service gave no length for; 0 when there is none to double.
    """

    def __init__(self) -> None:
        self.blocked_until = 0.0
        self.penalty_s = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until the block ends; 0: there is none."""
        return max(0.0, self.blocked_until - now)

    def learn(self, now: float, retry_after_s: float | None) -> None:
        """The service refused an attempt because of its limit, and wants the next one after `retry_after_s`."""
        if retry_after_s is not None:
            self.blocked_until = max(self.blocked_until, now + min(_LONGEST_BLOCK_S, retry_after_s))
            return
        if now >= self.blocked_until:
            self.penalty_s = min(_LONGEST_PENALTY_S, max(_FIRST_PENALTY_S, 2 * self.penalty_s))
        self.blocked_until = max(self.blocked_until, now + self.penalty_s)

    def forgive(self, now: float) -> None:
        """The service answered well: a while after the block, the next one starts small again."""
        if now >= self.blocked_until + self.penalty_s:
            self.penalty_s = 0.0

    def __repr__(self) -> str:
        if not self.blocked_until:
            return "<Penalty none>"
        return f"<Penalty until {self.blocked_until:.3f}, latest {self.penalty_s:g} s>"
