"""A Celery pool that performs calls on one asyncio loop, hundreds at once in one process.

Four places, each in its own thread. The worker's *hub* takes messages and gets every callback: acknowledgements are not
thread-safe. The *loop* performs calls. The *finisher* runs Celery's tracer for a call whose outcome is known, so that a
result backend that is slow or gone never stops heartbeats, remote control and signals; it has a thread of its own for
those after which something is enqueued, so that neither does a broker. A few *ordinary* threads run the tasks that are
not calls (`celery.chord_unlock`, callbacks).

Select it with `worker_pool = "workers.pool:AsyncioPool"`.
"""

import logging
import os
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from celery.concurrency.base import BasePool
from celery.exceptions import WorkerShutdown
from celery.platforms import EX_FAILURE
from kombu.utils.compat import detect_environment

from gateway.errors import ServiceError
from workers.job import Job, Stage
from workers.observation.events import CallRefused, Event
from workers.outcomes import Refused
from workers.pool.bell import Bell
from workers.pool.drain import COLD_GRACE_S, STORE_GRACE_S, Drain, worker_state
from workers.pool.ending import announce, cancelled_unsent, expired_unsent, give_up
from workers.pool.finisher import Finisher
from workers.pool.jobs import Jobs
from workers.pool.lane import Lane
from workers.pool.loop import CallLoop
from workers.pool.stop_signals import StopSignals
from workers.pool.tracer import TracerThreads
from workers.task import CallTask

__all__ = ["AsyncioPool"]

logger = logging.getLogger(__name__)

#: Threads for tasks that are not calls.
ORDINARY_THREADS = 4


def _refuse(why: str) -> None:
    logger.critical("the worker does not start: %s", why)
    raise WorkerShutdown(EX_FAILURE)


class AsyncioPool(BasePool):
    """See the module. All methods belong to the hub's thread, or to a signal handler that interrupts it.

    One setting of the app is its own: `gateway_store_grace_s`, seconds (20 by default) that a warm stop waits for
    outcomes to be stored when all calls have theirs. What is not stored by then is given up, see `give_up`.
    """

    signal_safe = False
    uses_semaphore = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.limit = int(self.limit or 0)
        self._pid = os.getpid()
        self._loop: CallLoop | None = None
        self._stopped = False
        self._jobs = Jobs(self._launch_call, self._launch_ordinary, calls=self.limit, ordinary=ORDINARY_THREADS)

    # -- start ---------------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Start the loop, the executor and the threads.

        Raises:
            WorkerShutdown: it cannot run here; the log says why.
        """
        environment = detect_environment()
        if environment != "default":
            _refuse(f"{environment} patches what asyncio needs; start it without {environment}")
        if self.options.get("threads"):
            _refuse("the broker's transport has no event loop; use a redis:// or amqp:// broker, not on Windows")
        task = self.app.tasks.get(CallTask.name)
        if not isinstance(task, CallTask):
            _refuse(f"the app has no task {CallTask.name}; register it with app.register_task(CallTask(…))")
        self._pid = os.getpid()
        task.pool = self
        self._bell = Bell()
        self.stop_signals = StopSignals(self._bell)
        self._drain = Drain(
            self._bell,
            self._jobs,
            alive=lambda: self._loop is not None and self._loop.alive,
            give_up=self._give_up,
            store_grace_s=float(self.app.conf.get("gateway_store_grace_s", STORE_GRACE_S)),
        )
        self._finisher = Finisher(self._bell.post, lambda: task.backend)
        self._ordinary_threads = TracerThreads("gateway-task", ORDINARY_THREADS, self._bell.post)
        self._loop = CallLoop(
            task.executor_factory,
            settle=self._settled,
            drop=lambda job: self._bell.post(partial(self._jobs.leave, job)),
            expire=lambda job, soft: self._bell.post(partial(self._limit_passed, job, soft)),
            died=self._loop_died,
        )
        try:
            self._loop.start()
        except Exception as error:
            _refuse(f"{type(error).__name__}: {error}")
        self._finisher.start()
        # What a worker publishes for a chain or a callback carries a reply; its representation would show the payload.
        self.app.amqp.argsrepr_maxsize = self.app.amqp.kwargsrepr_maxsize = 0

    def register_with_event_loop(self, loop: Any) -> None:
        """Called at the start and after every reconnect, which empties the hub."""
        self._drain.hub = loop
        loop.add_reader(self._bell.fileno(), self._bell.answer)

    @property
    def calls(self) -> CallLoop | None:
        """The loop that performs calls, once it is started."""
        return self._loop

    def tell(self, event: Event) -> None:
        """Tell those who observe calls of a message that the loop never sees. On any thread."""
        if self._loop is not None:
            self._loop.tell(event)

    def ask_hub(self, answer: Callable[[], object]) -> None:
        """Have this called on the hub's thread, as soon as it gets to it. On any thread."""
        self._bell.post(answer)

    # -- taking jobs ---------------------------------------------------------------------------------------------------

    def apply_async(self, target: Callable[..., Any], args: Any = None, kwargs: Any = None, **options: Any) -> Job:
        """Take a message: run `target(*args)`, Celery's tracer, when the call's outcome is known.

        In place of the base's, which shows the arguments in a debug line.
        """
        is_call = isinstance(self.app.tasks.get(args[0]), CallTask)
        lane = self._jobs.calls if is_call else self._jobs.ordinary
        job = Job.of(target, args, options, partial(self._terminate, lane))
        if not self._jobs.offer(lane, job):
            job.give_back()
        return job

    def refuse(self, target: Callable[..., Any], args: Any, *, expired: bool, **options: Any) -> Job:
        """In place of `apply_async`, for a call that was revoked or has expired: it ends without being performed."""
        job = Job.of(target, args, options, partial(self._terminate, self._jobs.calls))
        self._settle(job, expired_unsent(job) if expired else cancelled_unsent(job))
        return job

    def withdraw(self, request: Any) -> bool:
        """Take a request out that is not begun with, so that its message can go back; False if it is too late.

        Also one that never reached the pool, such as a call with a countdown.
        """
        reference = request._apply_result
        job = reference() if reference is not None else None
        return reference is None or (job is not None and self._jobs.withdraw(job))

    def aside(self, work: Callable[[], object], then: Callable[[], object]) -> None:
        """Do something that may block off the hub, such as storing a result, then `then()` on the hub."""
        self._finisher.run(work, then)

    def _launch_call(self, job: Job) -> None:
        self._accept(job)
        if self._loop is not None:
            self._loop.perform(job)

    def _launch_ordinary(self, job: Job) -> None:
        self._accept(job)
        self._ordinary_threads.start()
        self._ordinary_threads.trace(job, self._finish)

    def _accept(self, job: Job) -> None:
        job.stage = Stage.RUNNING
        job.started = monotonic()
        try:
            job.on_accepted(self._pid, job.started)
        except Exception as error:
            logger.error("task %s: its start was not announced: %s", job.task_id, type(error).__name__)

    # -- ending jobs ---------------------------------------------------------------------------------------------------

    def _settled(self, job: Job) -> None:
        self._finisher.trace(job, self._finish)

    def _finish(self, job: Job) -> None:
        try:
            if not job.silenced:
                announce(job)
        finally:
            self._leave(job)

    def _leave(self, job: Job) -> None:
        self._jobs.leave(job)
        if self._loop is not None:
            self._loop.stored(job)

    def _limit_passed(self, job: Job, soft: bool) -> None:
        if job.silenced or job.parking or job.stage is not Stage.RUNNING:
            return
        limit_s = (job.soft_limit_s if soft else job.hard_limit_s) or 0.0
        if not (soft or job.silence()):
            return
        if not soft:
            self._cancel(job)
        job.on_timeout(soft, limit_s)

    def _terminate(self, lane: Lane, job: Job) -> None:
        if job.silenced or job.stage in (Stage.SETTLED, Stage.OVER) or not job.silence():
            return
        if lane.withdraw(job):
            self._jobs.all.discard(job)
            # A request that never started announces its revocation when it is accepted.
            self._accept(job)
            job.stage = Stage.OVER
        else:
            self._cancel(job)

    def revoke(self, job: Job) -> None:
        """End a call that nobody wants any more; its outcome says so, and whether the service may have acted.

        A call that has its outcome keeps it, and so does one that gets it in spite of its cancellation. One that is
        being parked ends when its message comes back.
        """
        if job.silenced or job.stage in (Stage.SETTLED, Stage.OVER):
            return
        if self._jobs.calls.withdraw(job):
            self._settle(job, cancelled_unsent(job))
        elif not job.revoked:
            job.revoked = True
            self._cancel(job)

    def _settle(self, job: Job, outcome: ServiceError) -> None:
        job.refuse(Refused(outcome, verified=self._loop is not None and self._loop.verifies(job)))
        job.outcome = outcome
        job.runtime_s = 0.0
        job.stage = Stage.SETTLED
        args, kwargs, _ = job.call_arguments
        self.tell(CallRefused.of(job.task_id, outcome, args, kwargs))
        self._jobs.all.add(job)
        self._finisher.trace(job, self._finish)

    def _give_up(self) -> None:
        """End the calls whose outcome is not stored."""
        for job in self._jobs.stored:
            try:
                if not job.silenced:
                    give_up(job)
            except Exception as error:
                logger.error("call %s was not given up in order: %s", job.task_id, type(error).__name__)
            self._jobs.leave(job)

    def _cancel(self, job: Job) -> None:
        if self._loop is not None:
            self._loop.cancel(job)

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Nothing: all jobs have this process's id. Celery goes on to call `Job.terminate`, which ends the one."""

    def flush(self) -> None:
        """Forget what waits: the connection is lost, and the broker delivers it again.

        Not called where messages outlive the connection, see `GatewayConsumer.on_close`.
        """
        self._jobs.flush()

    def _loop_died(self) -> None:
        # Read by the hub's loop in every turn; it ends the worker with this exit code.
        worker_state.should_stop = EX_FAILURE
        self._bell.ring()

    # -- stop ----------------------------------------------------------------------------------------------------------

    def on_close(self) -> None:
        """Start no more jobs; `GatewayConsumer` puts what waits back to its queue."""
        self._jobs.close()
        self._finisher.hurry()

    def drain(self, timeout_s: float) -> bool:
        """Start nothing more, and wait until all that runs is over and acknowledged; False after `timeout_s`.

        Runs the hub's timers meanwhile.
        """
        self.on_close()
        with self.stop_signals.heard():
            return self._drain.wait(timeout_s)

    def on_stop(self) -> None:
        """See every call in flight through, until its outcome is stored; see `Drain` for the bounds."""
        if self._stopped or self._loop is None:
            return
        self.on_close()
        if in_flight := self._jobs.in_flight:
            logger.info("waiting for %d task(s) in flight", in_flight)
        with self.stop_signals.heard():
            self._drain.see_through()
        self._end()

    def on_terminate(self) -> None:
        """Cold: cancel everything but what is being parked. Only what has its outcome is stored, or given up."""
        if self._stopped or self._loop is None:
            return
        self.on_close()
        for job in tuple(self._jobs.all):
            if job.stage is not Stage.SETTLED and job.silence():
                self._cancel(job)
        self._drain.wait(COLD_GRACE_S)
        self._give_up()
        self._end()

    def _end(self) -> None:
        if self._stopped or self._loop is None:
            return
        self._stopped = True
        self._loop.stop(COLD_GRACE_S)
        for threads in (self._finisher, self._ordinary_threads):
            threads.stop(COLD_GRACE_S if not self._jobs.all else 0.1)

    # -- what operators ask --------------------------------------------------------------------------------------------

    def grow(self, n: int = 1) -> None:
        """Allow `n` more calls at once."""
        self.limit = self._jobs.calls.limit = self.limit + n
        self._jobs.calls.fill()

    def shrink(self, n: int = 1) -> None:
        """Allow `n` fewer calls at once; those in flight go on."""
        self.limit = self._jobs.calls.limit = max(0, self.limit - n)

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()  # type: ignore[misc]
        return info | {
            "in-flight": len(self._jobs.calls.running),
            "waiting": len(self._jobs.calls.waiting),
            "ordinary-tasks": len(self._jobs.ordinary.running) + len(self._jobs.ordinary.waiting),
            "loop": self._loop.implementation if self._loop is not None else None,
            "processes": [self._pid],
        }

    def __repr__(self) -> str:
        return f"<AsyncioPool calls={self._jobs.calls!r} ordinary={self._jobs.ordinary!r}>"
