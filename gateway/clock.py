"""The time that all hosts agree on: the clock of the Redis that holds the results.

A deadline is written by one host and read by another. Where their clocks differ, a call ends before its time, or long
after anybody waits for it. So both sides reckon in the time of the one server that both of them ask anyway; its answers
carry its time along, and no question is asked for it.

How the time is read from an answer that took a while: F. Cristian, "Probabilistic clock synchronization", Distributed
Computing 3 (1989). The server's clock stood at what it said at some moment between question and answer; the middle is
off by half the round trip at most, so the answer with the shortest round trip tells best.
"""

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["FleetClock", "process_time"]

#: How far two clocks drift apart, seconds in a second: both may be slewed, each by at most 500 ppm (RFC 5905, MAXFREQ).
_DRIFT = 1e-3
#: What is known is asked again after so long without an answer. Real clocks drift by tens of ppm: 0.1 s in this time.
_STALE_S = 3600.0
#: An answer that came so short a time ago tells enough: nothing drifts far in it.
_FRESH_S = 1.0
#: The host's clocks moved apart by more than this: it slept, or its time was set.
_JUMP_S = 1.0


@dataclass(frozen=True, slots=True)
class _Observation:
    """What one answer told: fleet time is `monotonic + ahead_s`, give or take `error_s` at the moment `at`.

    `at` is of the monotonic clock; `apart_s` is how far the wall clock was ahead of it then.
    """

    ahead_s: float
    error_s: float
    at: float
    apart_s: float

    def error_after(self, at: float) -> float:
        """How far it may be off at a later moment of the monotonic clock."""
        return self.error_s + _DRIFT * max(0.0, at - self.at)


class FleetClock:
    """Fleet time, learned from answers. Before the first it is the host's own. Threads may share it; a fork keeps it.

    Args:
        wall: the host's Unix time in seconds.
        monotonic: a clock in seconds that is never set; moments given to `observe` are of this one.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self.monotonic = monotonic
        # Replaced as a whole, so that who reads it needs no lock.
        self._kept: _Observation | None = None
        self._heard_at = float("-inf")

    def observe(self, redis_time: float, asked_at: float, answered_at: float) -> None:
        """Learn from an answer.

        Args:
            redis_time: the server's Unix time in seconds, taken between question and answer.
            asked_at, answered_at: when the question was sent and the answer read, of the monotonic clock.
        """
        global _told
        round_trip_s = max(0.0, answered_at - asked_at)
        # Half of it, and what the clocks drift apart meanwhile.
        error_s = round_trip_s / 2 + _DRIFT * round_trip_s
        told = _Observation(
            ahead_s=redis_time - (asked_at + answered_at) / 2,
            error_s=error_s,
            at=answered_at,
            apart_s=self._wall() - self.monotonic(),
        )
        self._heard_at = answered_at
        kept = self._kept
        if kept is not None:
            known_s = kept.error_after(answered_at)
            change_s, jump_s = told.ahead_s - kept.ahead_s, told.apart_s - kept.apart_s
            # Both cannot be right if they are further apart than both may be off: then a clock was set, this host
            # slept, or another server answers now, and what was known is void.
            void = abs(change_s) > known_s + error_s
            if not void and abs(jump_s) > _JUMP_S:
                # A host that slept has fallen behind the server by as much as its own two clocks moved apart. Where
                # that can be told from a clock that was set, a slow answer does not replace a good one.
                void = jump_s > 0 and abs(change_s - jump_s) <= known_s + error_s
                if not void and error_s > known_s:
                    self._kept = replace(kept, apart_s=told.apart_s)
                    return
            if error_s > known_s and not void:
                return
        self._kept = told
        _told = weakref.ref(self)

    @property
    def is_sure(self) -> bool:
        """Whether fleet time is known. If not, the server has to be asked before it is relied on."""
        kept = self._kept
        return kept is not None and self.monotonic() - kept.at < _STALE_S and not self._jumped(kept)

    @property
    def is_fresh(self) -> bool:
        """Whether an answer came just now, so that the next question need not ask for the time along with it."""
        return self.monotonic() - self._heard_at < _FRESH_S

    def now(self) -> float:
        """Fleet time, a Unix time in seconds."""
        kept = self._kept
        return self._wall() if kept is None else self.monotonic() + kept.ahead_s

    @property
    def offset_s(self) -> float:
        """How far fleet time is ahead of the host's, in seconds; 0 as long as it is not known."""
        return 0.0 if self._kept is None else self.now() - self._wall()

    def _jumped(self, kept: _Observation) -> bool:
        """Whether the host's clocks moved apart. The monotonic one stands still while the host sleeps."""
        return abs(self._wall() - self.monotonic() - kept.apart_s) > _JUMP_S

    def __repr__(self) -> str:
        kept = self._kept
        if kept is None:
            return "<FleetClock the host's own>"
        return f"<FleetClock {self.offset_s:+.3f} s, off by {kept.error_after(self.monotonic()):.4f} s at most>"


#: The clock that learned last in this process.
_told: "weakref.ref[FleetClock] | None" = None


def process_time() -> float:
    """Fleet time as the clock of this process knows it that learned last; the host's own if none did.

    For what is called without a gateway at hand, such as a hook of Celery's.
    """
    clock = None if _told is None else _told()
    return time.time() if clock is None else clock.now()
