"""The threads that run Celery's tracer: it stores results and publishes chains, so it may block.

What cannot be stored because the store fails is kept and tried again: a call that has its outcome must not run again.
Celery itself tries again a few times, and only when a connection fails (`result_backend_always_retry`), not when Redis
is full. Here it goes on until the pool gives the job up, each in its turn, see `Turns`: one that cannot be stored holds
up no other for longer than a try. What cannot be enqueued after a call is kept too, see `Following`.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial

from gateway.reply import Reply
from workers.job import Job
from workers.outcome_store import STORE_ERRORS, Settled, settled, unless
from workers.outcomes import Dropped, Parked
from workers.pool.following import Following
from workers.pool.trouble import is_away
from workers.pool.turns import Turns

__all__ = ["TracerThreads"]

logger = logging.getLogger(__name__)

Then = Callable[[Job], object]


class TracerThreads:
    """Daemon threads that take work in the order of its arrival. One that hangs keeps no worker from ending.

    Args:
        name: of the threads.
        count: how many at most; they start when there is work for them.
        post: has a step done on the hub's thread.
        following: for jobs after which something is enqueued. What it gives up, and what waits for too long while the
            broker is away, goes on to `heir`.
        heir: stores outcomes alone.
    """

    def __init__(
        self,
        name: str,
        count: int,
        post: Callable[[Callable[[], object]], None],
        *,
        following: Following | None = None,
        heir: "TracerThreads | None" = None,
    ) -> None:
        self._name = name
        self._count = count
        self._post = post
        self._following = following
        self._heir = heir
        self._turns: Turns[Callable[[], object]] = Turns()
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        #: Jobs that were handed in and are not over, with what is to be done then.
        self._open: dict[Job, Then] = {}

    def start(self) -> None:
        """Start them all now."""
        for number in range(len(self._threads), self._count):
            thread = threading.Thread(target=self._run, name=f"{self._name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def trace(self, job: Job, then: Then) -> None:
        """Run the tracer, then `then(job)` on the hub's thread."""
        self._open[job] = then
        if self._turns.resting:
            self._tell(job)
        self._turns.put(partial(self._trace, job))

    def run(self, work: Callable[[], object], then: Callable[[], object]) -> None:
        """Do something that may block, then `then()` on the hub's thread, whether it raised or not."""

        def both() -> None:
            try:
                work()
            except Exception as error:
                logger.error("a refused message's result was not stored: %s", type(error).__name__)
            self._post(then)

        self._turns.put(both, urgent=True)

    def insist(self, work: Callable[[], object], failures: int = 0) -> None:
        """Do something until the store takes it."""

        def attempt() -> None:
            try:
                work()
            except STORE_ERRORS as error:
                self._rest(error)
                self.insist(work, failures + 1)
            except Exception as error:  # the thread must survive it
                logger.error("an outcome was not told early: %s", type(error).__name__)

        if failures:
            self._turns.put_back(attempt, failures)
        else:
            self._turns.put(attempt)

    def hurry(self) -> None:
        """The worker is ending: what could not be stored is tried again now, and often."""
        self._turns.hurry()

    def stop(self, timeout_s: float) -> None:
        """Let them end; those that hang are left behind after `timeout_s`. Nothing is tried again."""
        self._stopped.set()
        self._turns.close()
        for thread in self._threads:
            thread.join(timeout_s)

    def __len__(self) -> int:
        return len(self._threads)

    def _run(self) -> None:
        while (work := self._turns.get()) is not None:
            work()

    def _trace(self, job: Job, failures: int = 0) -> None:
        then = self._open.get(job)
        if then is None:
            return  # its heir has it
        if job.silenced or self._try(job):
            self._open.pop(job, None)
            self._post(lambda: then(job))
        elif job in self._open:
            owes = job.told and Following.is_followed(job)
            what = "what follows %s is not enqueued yet: %s" if owes else "outcome of %s is not stored yet: %s"
            logger.error(what, job.task_id, type(job.broken).__name__)
            self._turns.put_back(partial(self._trace, job, failures + 1), failures + 1)

    def _try(self, job: Job) -> bool:
        """Run the tracer once; False if it is to be run again."""
        told: Settled | None = None
        try:
            if self._following is not None and isinstance(job.outcome, Dropped):
                job.outcome = self._following.recover(job)
            outcome = job.outcome
            if isinstance(outcome, Parked | Dropped):
                return True
            with settled(outcome) as told, unless("" if job.refused is None else job.refused.guard):
                if job.abandoned is not None:
                    job.abandoned()
                    job.abandoned = None
                failed, value, runtime = job.target(*job.args)
        except BaseException as error:  # a task may raise SystemExit; the thread must survive it
            job.broken = error
            # Without an outcome it is an ordinary task, whose body would run again.
            return job.outcome is None or self._failed(job, told, error)
        self._turns.well()
        if self._following is not None:
            self._following.enqueued(job)
        if isinstance(outcome, Reply) and not failed:
            value = outcome.summary()
        job.traced = (failed, value, runtime if job.runtime_s is None else job.runtime_s)
        return True

    def _failed(self, job: Job, told: Settled | None, error: BaseException) -> bool:
        """What an error of the tracer means: whether the job ends with it, or has ended otherwise."""
        if told is not None:
            Following.remember(job, told)
        if self._stopped.is_set():
            return True
        if self._following is not None and told is not None and Following.is_passing_on(job, told):
            if self._following.is_vain(job, error):
                self._following.abandon(job, error)
                return self._try(job)
            self._rest(error)
            self._tell(job)
            if is_away(error):
                self._tell_all(error)
            return False
        if not isinstance(error, STORE_ERRORS):
            return True
        self._rest(error)
        return False

    def _rest(self, error: BaseException) -> None:
        """Let what failed alone for a while, if it would fail for all."""
        if is_away(error):
            self._turns.rest()
        else:
            self._turns.well()

    def _tell_all(self, error: BaseException) -> None:
        """The broker is away: those that wait for it are told first, and given up if they have waited for too long."""
        if self._following is None or self._heir is None:
            return
        for job, then in tuple(self._open.items()):
            if self._following.is_vain(job, None):
                del self._open[job]
                self._following.abandon(job, error)
                self._heir.trace(job, then)
            else:
                self._tell(job)

    def _tell(self, job: Job) -> None:
        """Let its producer know its outcome before what follows it is enqueued."""
        if self._following is None or self._heir is None or job.told or isinstance(job.outcome, Dropped):
            return
        job.told = True
        self._heir.insist(partial(self._following.tell, job))
