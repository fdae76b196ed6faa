"""The one event loop of a worker process, in its own thread, and the executor on it."""

import asyncio
import logging
import threading
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from gateway.errors import Delivery, GatewayFaultError, ServiceError
from gateway.reply import Reply
from workers.job import Job, Stage
from workers.observation.events import Event
from workers.outcomes import Dropped, Parked, Refused
from workers.task import Performer

__all__ = ["CallLoop"]

logger = logging.getLogger(__name__)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class CallLoop:
    """Performs jobs.

    Args:
        executor_factory: makes the executor, on the loop.
        settle: called on the loop's thread with a job whose outcome is known, which may be that it has none here.
        drop: called on the loop's thread with a job that ended without an outcome to keep.
        expire: called on the loop's thread with a job whose time limit passed; True for the soft one.
        died: called on the loop's thread when the loop ended though nobody stopped it.
    """

    def __init__(
        self,
        executor_factory: Callable[[], Performer],
        *,
        settle: Callable[[Job], None],
        drop: Callable[[Job], None],
        expire: Callable[[Job, bool], None],
        died: Callable[[], None],
    ) -> None:
        self._executor_factory = executor_factory
        self._settle = settle
        self._drop = drop
        self._expire = expire
        self._died = died
        self._loop = _new_loop()
        self._loop.set_exception_handler(_log_loop_error)
        self._executor: Performer | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="gateway-calls", daemon=True)

    @property
    def implementation(self) -> str:
        """`uvloop` or `asyncio`."""
        return type(self._loop).__module__.partition(".")[0]

    @property
    def alive(self) -> bool:
        """Whether it can perform jobs."""
        return self._thread.is_alive()

    @property
    def executor(self) -> Performer | None:
        """Who performs, once it is started."""
        return self._executor

    def ask(self, answer: Callable[[], object]) -> None:
        """Have this called on the loop, as soon as it gets to it. On any thread."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(answer)

    def tell(self, event: Event) -> None:
        """Tell those who observe calls of what happened to a message elsewhere. On any thread."""
        if self._executor is not None:
            self.ask(partial(self._executor.observe, event))

    def start(self) -> None:
        """Start the thread and the executor.

        Raises:
            Exception: what the executor's `start` raised; the thread has ended.
        """
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start_executor(), self._loop).result()
        except BaseException:
            self._end(5.0)
            raise

    def verifies(self, job: Job) -> bool:
        """Whether somebody whom the gateway knows wrote its message. On any thread."""
        args, kwargs, embed = job.call_arguments
        return self._executor is not None and self._executor.verifies(job.task_id, args, kwargs, embed)

    def perform(self, job: Job) -> None:
        """Start a job; one of `settle` and `drop` follows."""
        self._call(self._begin, job)

    def cancel(self, job: Job) -> None:
        """Cancel a job."""
        self._call(self._cancel, job)

    def stored(self, job: Job) -> None:
        """A job's outcome is stored, or given up."""
        if self._executor is not None:
            self._executor.stored(job.task_id)

    def stop(self, timeout_s: float) -> None:
        """Cancel what still runs, close the executor and end the thread; each within `timeout_s`, else it is left."""
        if self.alive and not self._stopping:
            self._stopping = True
            with suppress(RuntimeError):
                self._wait("cancelling the calls", self._cancel_all(timeout_s), timeout_s)
                self._wait("closing the executor", self._close_executor(), timeout_s)
        self._end(timeout_s)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        except BaseException as error:
            logger.critical("the loop of the calls ended: %r", error)
            if not isinstance(error, Exception | SystemExit | KeyboardInterrupt):
                raise
        finally:
            if not self._stopping:
                self._died()

    def _end(self, timeout_s: float) -> None:
        self._stopping = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout_s)
        if not self._thread.is_alive() and not self._loop.is_closed():
            self._loop.close()

    def _call(self, step: Callable[[Job], None], job: Job) -> None:
        # The loop is closed: the worker is ending, and the message goes back to its queue.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(step, job)

    def _wait(self, what: str, work: Coroutine[Any, Any, None], timeout_s: float) -> None:
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)
        except TimeoutError:
            logger.error("left behind after %g s: %s", timeout_s, what)
        except Exception as error:
            logger.error("%s failed: %s", what, type(error).__name__)

    async def _start_executor(self) -> None:
        self._executor = self._executor_factory()
        await self._executor.start()

    async def _close_executor(self) -> None:
        if self._executor is not None:
            await self._executor.close()

    async def _cancel_all(self, timeout_s: float) -> None:
        mine = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not mine and task.get_name() == "call"]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=timeout_s / 2)

    def _begin(self, job: Job) -> None:
        if job.silenced:
            self._drop(job)
            return
        job.coroutine = self._loop.create_task(self._perform(job), name="call")
        job.coroutine.add_done_callback(partial(self._ended, job))
        for limit_s, soft in ((job.soft_limit_s, True), (job.hard_limit_s, False)):
            if limit_s:
                job.timers.append(self._loop.call_later(limit_s, self._limit_passed, job, soft))

    def _limit_passed(self, job: Job, soft: bool) -> None:
        self._expire(job, soft)
        if soft:
            job.soft_limit_passed = True
            self._cancel(job)

    def _cancel(self, job: Job) -> None:
        if job.coroutine is not None and not job.parking:
            job.coroutine.cancel()

    async def _perform(self, job: Job) -> None:
        job.begun = True
        self._conclude(job, await self._outcome(job))

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        # asyncio cancels a task that is not begun without running a line of it.
        if not job.begun and task.cancelled():
            self._conclude(job, self._cancelled(job))

    def _conclude(self, job: Job, outcome: Reply | Exception | Parked | Dropped | None) -> None:
        job.outcome = outcome
        job.runtime_s = monotonic() - job.started
        for timer in job.timers:
            timer.cancel()
        job.timers.clear()
        job.coroutine = None
        if job.outcome is None or job.silenced:
            self._drop(job)
        else:
            job.stage = Stage.SETTLED
            self._settle(job)

    async def _outcome(self, job: Job) -> Reply | Exception | Parked | Dropped | None:
        """None if the job was cancelled and its message comes again."""
        assert self._executor is not None  # noqa: S101 - start() made it
        args, kwargs, embed = job.call_arguments
        try:
            # A copy: the tracer and the request change theirs in other threads.
            headers = dict(job.request)
            outcome: object = await self._executor.perform(job.task_id, args, kwargs, headers, job.message, embed)
        except asyncio.CancelledError:
            return self._cancelled(job)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            # Where it was raised, and no message: that may hold something of the payload.
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error("call %s: a defect, %s in\n%s", job.task_id, type(error).__name__, where)
            return _fault(job, f"a defect: {type(error).__name__}")
        if isinstance(outcome, Refused):
            job.refuse(outcome)
            return outcome.error
        if isinstance(outcome, Reply | ServiceError | Parked | Dropped):
            return outcome
        return _fault(job, f"a defect: perform() returned {type(outcome).__name__}")

    def _cancelled(self, job: Job) -> Exception | None:
        assert self._executor is not None  # noqa: S101 - start() made it
        if job.soft_limit_passed:
            return SoftTimeLimitExceeded(job.soft_limit_s)
        if job.silenced or self._stopping:
            return None
        if not job.revoked:
            return _fault(job, "the call was cancelled from inside")
        try:
            return self._executor.cancelled(job.task_id)
        except Exception as error:
            logger.error("call %s: a defect, %s in cancelled()", job.task_id, type(error).__name__)
            return _fault(job, f"a defect: {type(error).__name__}")


def _fault(job: Job, message: str) -> GatewayFaultError:
    return GatewayFaultError(message, delivery=Delivery.MAYBE_SENT, call_id=job.task_id)


def _log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    logger.error("on the loop of the calls: %s (%s)", context.get("message"), type(error).__name__)
