"""A Celery pool that performs calls on one asyncio loop, hundreds at once in one process.

Four places, each in its own thread. The worker's *hub* takes messages and gets every callback: acknowledgements are not
thread-safe. The *loop* performs calls. The *finisher* runs Celery's tracer for a call whose outcome is known, so that a
result backend that is slow or gone never stops heartbeats, remote control and signals. A few *ordinary* threads run the
tasks that are not calls (`celery.chord_unlock`, callbacks).

Select it with `worker_pool = "workers.pool:AsyncioPool"`.
"""

import logging
import os
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.concurrency.base import BasePool
from celery.concurrency.prefork import _run_ready_callbacks  # type: ignore[attr-defined]
from celery.exceptions import WorkerShutdown
from celery.platforms import EX_FAILURE
from celery.worker import state
from kombu.utils.compat import detect_environment

from gateway.errors import GatewayFaultError
from workers.job import Job, Stage
from workers.pool_bell import Bell
from workers.pool_lane import Lane
from workers.pool_loop import CallLoop
from workers.pool_tracer import STORE_ERRORS, TracerThreads
from workers.task import CallTask, Executor

__all__ = ["AsyncioPool", "Executor"]

logger = logging.getLogger(__name__)
#: Celery's flags; `should_stop` and `should_terminate` hold an exit code, or True, once the worker is to end.
worker_state: Any = state

#: Threads for tasks that are not calls.
ORDINARY_THREADS = 4
#: Seconds that a cold stop waits for results that are being stored, and any stop for each of its last steps.
GRACE_S = 3.0


def _refuse(why: str) -> None:
    logger.critical("the worker does not start: %s", why)
    raise WorkerShutdown(EX_FAILURE)


class AsyncioPool(BasePool):
    """See the module. All methods belong to the hub's thread, or to a signal handler that interrupts it."""

    signal_safe = False
    uses_semaphore = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.limit = int(self.limit or 0)
        self._pid = os.getpid()
        self._hub: Any = None
        self._loop: CallLoop | None = None
        self._jobs: set[Job] = set()
        self._stopped = False
        self._calls = Lane(self._launch_call, self.limit)
        self._ordinary = Lane(self._launch_ordinary, ORDINARY_THREADS)

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
        self._bell = Bell()
        self._finisher = TracerThreads("gateway-finisher", 1, self._bell.post)
        self._ordinary_threads = TracerThreads("gateway-task", ORDINARY_THREADS, self._bell.post)
        self._loop = CallLoop(
            task.executor_factory,
            settle=lambda job: self._finisher.trace(job, self._finish),
            drop=lambda job: self._bell.post(partial(self._let_go, job)),
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
        self._hub = loop
        loop.add_reader(self._bell.fileno(), self._answer)

    # -- taking jobs ---------------------------------------------------------------------------------------------------

    def apply_async(self, target: Callable[..., Any], args: Any = None, kwargs: Any = None, **options: Any) -> Job:
        """Take a message: run `target(*args)`, Celery's tracer, when the call's outcome is known.

        In place of the base's, which shows the arguments in a debug line.
        """
        is_call = isinstance(self.app.tasks.get(args[0]), CallTask)
        job = Job(
            task_id=args[1],
            target=target,
            args=args,
            on_accepted=options.get("accept_callback") or _ignore,
            on_done=options.get("callback") or _ignore,
            on_lost=options.get("error_callback") or _ignore,
            on_timeout=options.get("timeout_callback") or _ignore,
            on_terminate=partial(self._terminate, self._calls if is_call else self._ordinary),
            soft_limit_s=options.get("soft_timeout"),
            hard_limit_s=options.get("timeout"),
        )
        lane = self._calls if is_call else self._ordinary
        if not lane.closed:  # else it stays unacknowledged, and goes back to its queue with the channel's end
            self._jobs.add(job)
            lane.offer(job)
        return job

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

    def _answer(self) -> None:
        """Do what was posted to the hub."""
        self._bell.hush()
        while (step := self._bell.answer()) is not None:
            try:
                step()
            except Exception as error:
                # A lost broker connection shows in the hub's own reads; the steps behind this one must not be lost.
                logger.error("a finished task was not announced: %s", type(error).__name__, exc_info=True)

    def _finish(self, job: Job) -> None:
        try:
            if job.silenced:
                return
            if job.traced is not None:
                job.on_done(job.traced)
            elif job.broken is not None:
                job.on_lost(_lost(job.broken))
        finally:
            self._let_go(job)

    def _let_go(self, job: Job) -> None:
        job.stage = Stage.OVER
        self._jobs.discard(job)
        for lane in self._lanes:
            if job in lane.running:
                lane.leave(job)

    def _limit_passed(self, job: Job, soft: bool) -> None:
        if job.silenced or job.stage is not Stage.RUNNING:
            return
        limit_s = (job.soft_limit_s if soft else job.hard_limit_s) or 0.0
        if not soft:
            job.silenced = True
            self._cancel(job)
        job.on_timeout(soft, limit_s)

    def _terminate(self, lane: Lane, job: Job) -> None:
        if job.silenced or job.stage is Stage.OVER:
            return
        job.silenced = True
        if lane.withdraw(job):
            self._jobs.discard(job)
            # A request that never started announces its revocation when it is accepted.
            self._accept(job)
            job.stage = Stage.OVER
        else:
            self._cancel(job)

    def _cancel(self, job: Job) -> None:
        if self._loop is not None:
            self._loop.cancel(job)

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Nothing: all jobs have this process's id. Celery goes on to call `Job.terminate`, which ends the one."""

    def flush(self) -> None:
        """Forget what waits: the connection is lost, and the broker delivers it again."""
        for lane in self._lanes:
            self._jobs.difference_update(lane.waiting)
            lane.waiting.clear()

    def _loop_died(self) -> None:
        # Read by the hub's loop in every turn; it ends the worker with this exit code.
        worker_state.should_stop = EX_FAILURE
        self._bell.ring()

    # -- stop ----------------------------------------------------------------------------------------------------------

    def on_close(self) -> None:
        """Start no more jobs: what waits goes back to its queue with the channel's end."""
        for lane in self._lanes:
            lane.closed = True
        self._finisher.hurry()

    def drain(self, timeout_s: float | None = None) -> bool:
        """Start nothing more, and wait until all that runs is over and acknowledged; False after `timeout_s`.

        Runs the hub's timers meanwhile. A nested call from a signal handler is fine.
        """
        self.on_close()
        ends = None if timeout_s is None else monotonic() + timeout_s
        while self.in_flight and self._loop is not None and self._loop.alive:
            if ends is None and worker_state.should_terminate:
                ends = monotonic() + GRACE_S
            if ends is not None and monotonic() >= ends:
                return False
            self._bell.wait(0.2 if ends is None else max(0.0, min(0.2, ends - monotonic())))
            self._answer()
            self._turn_hub()
        self._turn_hub()
        return not self.in_flight

    def on_stop(self) -> None:
        """Warm: see every call in flight through. Cold, when Celery cancelled them: bounded."""
        if self._stopped or self._loop is None:
            return
        if self.in_flight:
            logger.info("waiting for %d task(s) in flight", self.in_flight)
        self.drain()
        self._end()

    def on_terminate(self) -> None:
        """Cold: cancel everything; nothing more is acknowledged."""
        if self._stopped or self._loop is None:
            return
        self.on_close()
        for job in self._jobs:
            job.silenced = True
        self._end()

    def _end(self) -> None:
        if self._stopped or self._loop is None:
            return
        self._stopped = True
        self._loop.stop(GRACE_S)
        for threads in (self._finisher, self._ordinary_threads):
            threads.stop(GRACE_S if not self._jobs else 0.1)

    def _turn_hub(self) -> None:
        """What prefork does while it drains: heartbeats, and acknowledgements that are ready."""
        if self._hub is None:
            return
        try:
            self._hub.fire_timers()
            _run_ready_callbacks(self._hub)
        except Exception as error:
            # Also the signal handler that interrupted the timers themselves.
            logger.warning("while draining: %s", type(error).__name__, exc_info=True)

    # -- what operators ask --------------------------------------------------------------------------------------------

    @property
    def _lanes(self) -> tuple[Lane, Lane]:
        return self._calls, self._ordinary

    @property
    def in_flight(self) -> int:
        """Jobs that were started and are not over."""
        return sum(len(lane.running) for lane in self._lanes)

    def grow(self, n: int = 1) -> None:
        """Allow `n` more calls at once."""
        self.limit = self._calls.limit = self.limit + n
        self._calls.fill()

    def shrink(self, n: int = 1) -> None:
        """Allow `n` fewer calls at once; those in flight go on."""
        self.limit = self._calls.limit = max(0, self.limit - n)

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()  # type: ignore[misc]
        return info | {
            "in-flight": len(self._calls.running),
            "waiting": len(self._calls.waiting),
            "ordinary-tasks": len(self._ordinary.running) + len(self._ordinary.waiting),
            "loop": self._loop.implementation if self._loop is not None else None,
            "processes": [self._pid],
        }

    def __repr__(self) -> str:
        return f"<AsyncioPool calls={self._calls!r} ordinary={self._ordinary!r}>"


def _ignore(*_: object) -> None:
    """In place of a callback that the caller did not give."""


def _lost(error: BaseException) -> ExceptionInfo:
    """What Celery is told when the outcome was not stored.

    Where the store fails, the message goes back to its queue (`reject_on_worker_lost`). Any other reason would come
    again with the message, for ever: the task ends as failed.
    """
    what = f"the tracer failed: {type(error).__name__}"
    try:
        raise WorkerLostError(what) if isinstance(error, STORE_ERRORS) else GatewayFaultError(what)
    except (WorkerLostError, GatewayFaultError):
        return ExceptionInfo()
