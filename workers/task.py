"""The one Celery task of the gateway, `gateway.call`, and what performs it.

A call has two phases. The pool first performs it as a coroutine; when the outcome is known, Celery's ordinary tracer
runs this task, whose body only returns or raises that outcome. So results, retries of the result backend, chains,
chords, callbacks, signals and events stay Celery's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from celery import Task

from gateway.errors import GatewayFaultError, ServiceError
from gateway.reply import Reply
from workers.observation.events import Event
from workers.outcome_store import OutcomeStore, settled_now
from workers.outcomes import Dropped, Parked, Refused

__all__ = ["CallTask", "Performer"]


class Performer(Protocol):
    """What the pool needs: it performs calls, all on one event loop."""

    async def start(self) -> None:
        """Make ready, before the first call. Raising refuses to start the worker; the message is the operator's."""
        ...

    async def perform(
        self,
        call_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        headers: Mapping[str, Any],
        message: Callable[[], bytes],
        embed: Mapping[str, Any] | None = None,
    ) -> Reply | ServiceError | Parked | Dropped | Refused:
        """Perform one call.

        Args:
            call_id: id of the Celery task.
            args: results of earlier tasks of a chain.
            kwargs: the call.
            headers: the message's headers with what Celery added (`delivery_info`, `properties`, …).
            message: gives the message, packed to be parked. Call it right before that: from then on the call is not
                cancelled any more, and is expected to end within seconds.
            embed: what Celery is to do with the outcome: callbacks, error callbacks, chain, chord.

        Returns:
            The outcome, which is stored; that of a `Refused` only if no other message of the call is executed. For
            `Parked` and `Dropped` nothing is, and the message is acknowledged.

        Raises:
            asyncio.CancelledError: it was cancelled; nothing else is raised.
        """
        ...

    def cancelled(self, call_id: str) -> ServiceError:
        """What a call ended with whose `perform` was cancelled, or never begun.

        Called on the loop for a revoked call, right after its cancelled `perform` ended. The error says whether the
        service may have acted.
        """
        ...

    def verifies(self, call_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], embed: Mapping[str, Any]) -> bool:
        """Whether a caller that the gateway knows wrote this message, or nobody has to sign. On any thread."""
        ...

    def observe(self, event: Event) -> None:
        """Tell those who observe calls of something that happened outside of `perform`. Called on the loop."""
        ...

    def stored(self, call_id: str) -> None:
        """The outcome that `perform` returned is stored, or nobody will store it any more.

        Called once for each call that has an outcome, on another thread than the loop's.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; no call is in flight."""
        ...


class CallTask(Task[Any, Any]):
    """`gateway.call`, as the worker registers it: `app.register_task(CallTask(executor_factory))`.

    Args:
        executor_factory: makes the executor, once for each worker process and after any fork.

    Attributes:
        pool: the pool that performs its calls, once that has started; None in any other.
    """

    name = "gateway.call"
    Request = "workers.request:CallRequest"
    _backend: Any = None
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

    def __init__(self, executor_factory: Callable[[], Performer]) -> None:
        self.executor_factory = executor_factory
        self.pool: Any = None

    @property
    def backend(self) -> Any:
        """Where results are stored."""
        return OutcomeStore(self.app.backend if self._backend is None else self._backend)

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    def run(self, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the reply, or raise the error, that the pool already has.

        Raises:
            ServiceError: the call's failure.
            GatewayFaultError: this is not our pool, so nobody performed the call.
        """
        told = settled_now()
        if told is None:
            raise GatewayFaultError(
                "gateway.call runs in workers.pool:AsyncioPool; start `gateway worker`, or set worker_pool"
            )
        outcome: Any = told.outcome
        if isinstance(outcome, Exception):
            # Celery clears every frame of the traceback it gets. Those of the coroutine are not its own.
            raise outcome.with_traceback(None) from None
        wire: dict[str, Any] = outcome.to_wire()
        return wire
