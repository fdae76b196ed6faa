"""The threads that run Celery's tracer: it stores results and publishes chains, so it may block.

What cannot be stored because the store fails is kept and tried again: a call that has its outcome must not run again.
Celery itself tries again a few times, and only when a connection fails (`result_backend_always_retry`), not when Redis
is full. Here it goes on until the pool gives the job up, each in its turn: one that cannot be stored holds up no other
for longer than a try.
"""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from gateway.reply import Reply
from workers.job import Job
from workers.outcome_store import STORE_ERRORS, settled
from workers.outcomes import Dropped, Parked

__all__ = ["TracerThreads"]

logger = logging.getLogger(__name__)

#: Seconds between two tries, doubled from the first to the last; the last also while the worker ends.
_FIRST_DELAY_S, _LAST_DELAY_S, _HURRIED_DELAY_S = 0.5, 10.0, 0.5


class TracerThreads:
    """Daemon threads that take work in the order of its arrival. One that hangs keeps no worker from ending.

    Args:
        name: of the threads.
        count: how many at most; they start when there is work for them.
        post: has a step done on the hub's thread.
    """

    def __init__(self, name: str, count: int, post: Callable[[Callable[[], object]], None]) -> None:
        self._name = name
        self._count = count
        self._post = post
        self._work: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._hurried = threading.Event()
        self._stopped = threading.Event()
        self._delay_s = _FIRST_DELAY_S

    def start(self) -> None:
        """Start them all now."""
        for number in range(len(self._threads), self._count):
            thread = threading.Thread(target=self._run, name=f"{self._name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def trace(self, job: Job, then: Callable[[Job], object]) -> None:
        """Run the tracer, then `then(job)` on the hub's thread."""
        self._work.put(lambda: self._trace(job, then))

    def run(self, work: Callable[[], object], then: Callable[[], object]) -> None:
        """Do something that may block, then `then()` on the hub's thread, whether it raised or not."""

        def both() -> None:
            try:
                work()
            except Exception as error:
                logger.error("a refused message's result was not stored: %s", type(error).__name__)
            self._post(then)

        self._work.put(both)

    def hurry(self) -> None:
        """The worker is ending: what could not be stored is tried again now, and often."""
        self._hurried.set()

    def stop(self, timeout_s: float) -> None:
        """Let them end; those that hang are left behind after `timeout_s`. Nothing is tried again."""
        self._stopped.set()
        self._hurried.set()
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(timeout_s)

    def __len__(self) -> int:
        return len(self._threads)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _trace(self, job: Job, then: Callable[[Job], object]) -> None:
        if job.silenced or self._try(job):
            self._post(lambda: then(job))
            return
        logger.error("outcome of %s is not stored yet: %s", job.task_id, type(job.broken).__name__)
        self._rest()
        self.trace(job, then)

    def _try(self, job: Job) -> bool:
        """Run the tracer once; False if it is to be run again."""
        outcome = job.outcome
        if isinstance(outcome, Parked | Dropped):
            return True
        try:
            with settled(outcome) as told:
                failed, value, runtime = job.target(*job.args)
        except BaseException as error:  # a task may raise SystemExit; the thread must survive it
            job.broken = error
            if told is not None and told.dispatched:
                job.forget_what_follows()
            # Without an outcome it is an ordinary task, whose body would run again.
            return outcome is None or not isinstance(error, STORE_ERRORS) or self._stopped.is_set()
        self._delay_s = _FIRST_DELAY_S
        if isinstance(outcome, Reply) and not failed:
            value = outcome.summary()
        job.traced = (failed, value, runtime if job.runtime_s is None else job.runtime_s)
        return True

    def _rest(self) -> None:
        """Let the store alone for a while."""
        if self._hurried.is_set():
            self._stopped.wait(_HURRIED_DELAY_S)
            return
        self._hurried.wait(self._delay_s)
        self._delay_s = min(self._delay_s * 2, _LAST_DELAY_S)
