"""Tells of each change of a breaker's phase, in every worker that learns of it."""

import pybreaker

from workers.observation import BreakerChanged, Stream

__all__ = ["PhaseListener"]


class PhaseListener(pybreaker.CircuitBreakerListener):
    """Of one service's breaker; pybreaker calls it.

    Args:
        stream: is told.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        """The phase changed, by what this worker saw or by what the fleet told."""
        was = None if old_state is None else str(old_state.name)
        self._stream.tell(BreakerChanged(str(cb.name), was, str(new_state.name)))
