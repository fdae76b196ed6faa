"""The threads that run Celery's tracer: it stores results and publishes chains, so it may block.

What cannot be stored because the store fails is kept and tried again: a call that has its outcome must not run again.
Celery itself tries again only when a connection fails (`result_backend_always_retry`), not when Redis is full.
"""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from celery.exceptions import BackendError
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from gateway.reply import Reply
from workers.job import Job
from workers.task import settled

__all__ = ["STORE_ERRORS", "TracerThreads"]

logger = logging.getLogger(__name__)

#: What a result store or a broker raises that is away, full or busy.
STORE_ERRORS: tuple[type[Exception], ...] = (OSError, BackendError, OperationalError, RedisError)
_FIRST_DELAY_S, _LAST_DELAY_S = 0.5, 10.0


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
        """The worker is ending: what cannot be stored now is given up."""
        self._hurried.set()

    def stop(self, timeout_s: float) -> None:
        """Let them end; those that hang are left behind after `timeout_s`."""
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
        delay_s = _FIRST_DELAY_S
        while not job.silenced:
            try:
                with settled(job.outcome):
                    failed, value, runtime = job.target(*job.args)
            except BaseException as error:  # a task may raise SystemExit; the thread must survive it
                job.broken = error
                # Without an outcome it is an ordinary task, whose body would run again.
                if job.outcome is None or not isinstance(error, STORE_ERRORS) or self._hurried.is_set():
                    break
                logger.error("outcome of %s is not stored yet: %s", job.task_id, type(error).__name__)
                self._hurried.wait(delay_s)
                delay_s = min(delay_s * 2, _LAST_DELAY_S)
            else:
                if isinstance(job.outcome, Reply) and not failed:
                    value = job.outcome.summary()
                job.traced = (failed, value, runtime if job.runtime_s is None else job.runtime_s)
                break
        self._post(lambda: then(job))
