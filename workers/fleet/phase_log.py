"""A line in the log for each change of a breaker's phase, in every worker that learns of it."""

import logging

import pybreaker

__all__ = ["PhaseLog"]

_log = logging.getLogger("gateway.breaker")


class PhaseLog(pybreaker.CircuitBreakerListener):
    """Of one service's breaker; pybreaker calls it."""

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        """The phase changed, by what this worker saw or by what the fleet told."""
        level = logging.WARNING if new_state.name == pybreaker.STATE_OPEN else logging.INFO
        was = "unknown" if old_state is None else old_state.name
        _log.log(level, "the breaker of %s was %s and is %s", cb.name, was, new_state.name)
