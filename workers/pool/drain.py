"""The wait for what runs, while a worker ends."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from celery.concurrency.prefork import _run_ready_callbacks  # type: ignore[attr-defined]
from celery.worker import state

from workers.pool.bell import Bell
from workers.pool.jobs import Jobs

__all__ = ["COLD_GRACE_S", "STORE_GRACE_S", "Drain"]

logger = logging.getLogger(__name__)
#: Celery's flags; `should_terminate` holds an exit code, or True, once a cold stop was asked for.
worker_state: Any = state

#: Seconds that outcomes have to be stored when all calls have theirs; the setting `gateway_store_grace_s` changes it.
STORE_GRACE_S = 20.0
#: Seconds that they have at a cold stop, and that any stop waits for each of its last steps.
COLD_GRACE_S = 3.0


class Drain:
    """Belongs to the hub's thread. A wait may be within another one, where a stop is hurried.

    Args:
        bell: has the pool's steps done.
        jobs: what is waited for.
        alive: whether the loop of the calls still performs them.
        give_up: ends the calls whose outcome could not be stored.
        store_grace_s: see `STORE_GRACE_S`.
    """

    def __init__(
        self,
        bell: Bell,
        jobs: Jobs,
        *,
        alive: Callable[[], bool],
        give_up: Callable[[], object],
        store_grace_s: float,
    ) -> None:
        self._bell = bell
        self._jobs = jobs
        self._alive = alive
        self._give_up = give_up
        self._store_grace_s = store_grace_s
        #: The worker's event loop; its timers and acknowledgements go on meanwhile.
        self.hub: Any = None

    def wait(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight; False after `timeout_s`."""
        ends = monotonic() + timeout_s
        while self._running() and monotonic() < ends:
            self._turn(ends)
        self._turn_hub()
        return not self._running()

    def see_through(self) -> None:
        """Wait until nothing is in flight that can still come to an end by itself.

        Calls take their own time, which is bounded, and so do ordinary tasks. Once all calls have their outcomes, what
        cannot be stored within the grace is given up. A cold stop, also one that is asked for meanwhile, waits for
        `COLD_GRACE_S` at most.
        """
        cold_end = store_end = None
        while self._running():
            now = monotonic()
            if cold_end is None and worker_state.should_terminate:
                cold_end = now + COLD_GRACE_S
            if store_end is None and not self._performing():
                store_end = now + self._store_grace_s
            if cold_end is not None and now >= cold_end:
                break
            if store_end is not None and now >= store_end:
                self._give_up()
            self._turn(now + 0.2 if cold_end is None else cold_end)
        self._give_up()
        self._turn_hub()

    def _performing(self) -> bool:
        """Whether a call has no outcome yet, and can still get one."""
        return self._jobs.performed and self._alive()

    def _running(self) -> bool:
        return self._performing() or bool(self._jobs.stored or self._jobs.ordinary.running)

    def _turn(self, until: float) -> None:
        self._bell.wait(max(0.0, min(0.2, until - monotonic())))
        self._bell.answer()
        self._turn_hub()

    def _turn_hub(self) -> None:
        """What prefork does while it drains: heartbeats, and acknowledgements that are ready."""
        if self.hub is None:
            return
        try:
            self.hub.fire_timers()
            _run_ready_callbacks(self.hub)
        except Exception as error:
            # Also the signal handler that interrupted the timers themselves.
            logger.warning("while draining: %s", type(error).__name__, exc_info=True)
