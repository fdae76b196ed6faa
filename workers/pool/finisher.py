"""Sees the outcomes of calls into the result store, and what follows them onto the broker."""

from collections.abc import Callable

from workers.job import Job
from workers.outcome_store import OutcomeStore
from workers.outcomes import Dropped, Parked
from workers.pool.following import Following
from workers.pool.tracer import TracerThreads

__all__ = ["Finisher"]


class Finisher:
    """Two threads: a broker that takes nothing must not keep the outcomes of calls from the store.

    Args:
        post: has a step done on the hub's thread.
        store: where outcomes are.
    """

    def __init__(self, post: Callable[[Callable[[], object]], None], store: Callable[[], OutcomeStore]) -> None:
        self._post = post
        self._alone = TracerThreads("gateway-finisher", 1, post)
        self._followed = TracerThreads("gateway-follower", 1, post, following=Following(store), heir=self._alone)

    def start(self) -> None:
        """Start both."""
        self._alone.start()
        self._followed.start()

    def trace(self, job: Job, then: Callable[[Job], object]) -> None:
        """Have the outcome of a call stored, then `then(job)` on the hub's thread."""
        is_left = isinstance(job.outcome, Parked | Dropped)
        if Following.is_followed(job) and not isinstance(job.outcome, Parked):
            self._followed.trace(job, then)
        elif is_left:
            # Nothing to store: no tracer, and no wait behind those whose outcomes are stored.
            self._post(lambda: then(job))
        else:
            self._alone.trace(job, then)

    def run(self, work: Callable[[], object], then: Callable[[], object]) -> None:
        """Do something that may block on the store, then `then()` on the hub's thread."""
        self._alone.run(work, then)

    def hurry(self) -> None:
        """The worker is ending."""
        self._alone.hurry()
        self._followed.hurry()

    def stop(self, timeout_s: float) -> None:
        """Let both end; nothing is tried again."""
        self._followed.stop(timeout_s)
        self._alone.stop(timeout_s)
