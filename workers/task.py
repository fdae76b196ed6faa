"""The one Celery task of the gateway, `gateway.call`, and what performs it.

A call has two phases. The pool first performs it as a coroutine; when the outcome is known, Celery's ordinary tracer
runs this task, whose body only returns or raises that outcome. So results, retries of the result backend, chains,
chords, callbacks, signals and events stay Celery's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from celery import Task

from gateway.errors import GatewayFaultError, ServiceError
from gateway.reply import Reply

__all__ = ["CallTask", "Executor", "settled"]

_OUTCOME: ContextVar[Reply | Exception | None] = ContextVar("outcome", default=None)


class Executor(Protocol):
    """Performs calls, all on one event loop."""

    async def start(self) -> None:
        """Make ready, before the first call. Raising refuses to start the worker; the message is the operator's."""
        ...

    async def perform(
        self, call_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], headers: Mapping[str, Any]
    ) -> Reply | ServiceError:
        """Perform one call.

        Args:
            call_id: id of the Celery task.
            args: results of earlier tasks of a chain.
            kwargs: the call.
            headers: the message's headers with what Celery added (`delivery_info`, `properties`, …).

        Raises:
            asyncio.CancelledError: it was cancelled; nothing else is raised.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; no call is in flight."""
        ...


@contextmanager
def settled(outcome: Reply | Exception | None) -> Iterator[None]:
    """Within it, and in this thread, the task's body ends with this outcome."""
    token = _OUTCOME.set(outcome)
    try:
        yield
    finally:
        _OUTCOME.reset(token)


class CallTask(Task[Any, Any]):
    """`gateway.call`, as the worker registers it: `app.register_task(CallTask(executor_factory))`.

    Args:
        executor_factory: makes the executor, once for each worker process and after any fork.
    """

    name = "gateway.call"
    Request = "workers.request:CallRequest"
    Strategy = "workers.strategy:call_strategy"
    #: Expected: logged in one line, without a traceback.
    throws = (ServiceError,)
    acks_late = True
    acks_on_failure = True
    acks_on_timeout = True
    reject_on_worker_lost = True
    ignore_result = False
    track_started = False
    serializer = "json"
    typing = False
    #: Nothing of the reply gets into Celery's log line; its event gets `Reply.summary()` from the pool.
    resultrepr_maxsize = 0

    def __init__(self, executor_factory: Callable[[], Executor]) -> None:
        self.executor_factory = executor_factory

    def run(self, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the reply, or raise the error, that the pool already has.

        Raises:
            ServiceError: the call's failure.
            GatewayFaultError: this is not our pool, so nobody performed the call.
        """
        outcome = _OUTCOME.get()
        if outcome is None:
            raise GatewayFaultError(
                "gateway.call runs in workers.pool:AsyncioPool; start `gateway worker`, or set worker_pool"
            )
        if isinstance(outcome, Exception):
            # Celery clears every frame of the traceback it gets. Those of the coroutine are not its own.
            raise outcome.with_traceback(None) from None
        return outcome.to_wire()
