"""The worker's consumer: nothing that lies in a queue can end the worker, and nothing that is not ours gets lost."""

import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from time import monotonic
from typing import Any

from celery import bootsteps, signals
from celery.exceptions import CPendingDeprecationWarning, NotRegistered
from celery.utils.log import get_logger
from celery.worker import loops
from celery.worker import state as worker_state
from celery.worker.consumer import Consumer
from celery.worker.state import active_requests

from gateway.call_size import MAX_MESSAGE_BYTES
from gateway.dead_letter import Reason
from gateway.errors import InvalidCallError
from workers.broker.entry import COUNT_HEADER
from workers.broker.sessions import sessions
from workers.event_dispatcher import FLUSH_S
from workers.outcome_store import first_stands, unless
from workers.pool import AsyncioPool
from workers.pool import revoke as pool_revoke
from workers.rabbitmq import end_dead, prefetch_of_each
from workers.refusal import is_usable_id, lost_connection, poisoned, printable, refuse
from workers.unpacking import bound_unpacking

__all__ = ["GatewayConsumer", "UnreadableMessageError"]

logger = get_logger(__name__)

#: Queues that other applications may share with us: Celery's default queue.
SHARED_QUEUES = frozenset({"celery"})

#: Workers that died with a message in hand, after which it is taken for the cause. RabbitMQ counts by itself.
DEATHS_MOST = 20


#: Celery's own tasks, such as `celery.accumulate` and `celery.map`.
_BUILT_IN = "celery."


class UnreadableMessageError(ConnectionError):
    """The transport itself stumbled over something; the consumer connects anew."""


class GatewayConsumer(Consumer):
    """Select it with `worker_consumer = "workers.consumer:GatewayConsumer"`."""

    conninfo: Any
    connection: Any
    channel_errors: tuple[type[BaseException], ...]
    controller: Any
    connection_errors: tuple[type[BaseException], ...]
    event_dispatcher: Any
    initial_prefetch_count: int
    strategies: Any
    task_consumer: Any
    #: Whether it takes messages: the broker is there, and the hub turns.
    is_connected = False
    #: When the events that are buffered go, on the monotonic clock.
    _flushes_at = float("-inf")
    timer: Any
    hub: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        bound_unpacking()
        if self.conninfo.transport.driver_type == "amqp":
            self.initial_prefetch_count = prefetch_of_each(
                self.initial_prefetch_count, len(self.app.amqp.queues.consume_from)
            )
        if self._outlives_connections:
            # The transport goes on counting what was taken before; Celery would count it a second time.
            self.app.conf.worker_enable_prefetch_count_reduction = False
        if self.controller is not None and isinstance(self.pool, AsyncioPool):
            # Celery's own sleeps in the signal handler, where no call could be acknowledged.
            self._wait_idle = self.controller.wait_for_soft_shutdown
            self.controller.wait_for_soft_shutdown = self.wait_for_soft_shutdown
            pool_revoke.install()

    @staticmethod
    def loop(consumer: Any, connection: Any, *args: Any) -> None:
        """Celery's loop; an exception that Celery takes for the worker's end becomes a reconnect.

        A queue entry that is no message at all (not JSON, no properties) raises inside the transport, after it was
        taken from the queue. It would otherwise end one worker after another.
        """
        run = loops.asynloop if consumer.hub else loops.synloop
        signals_heard = consumer.pool.stop_signals.heard() if isinstance(consumer.pool, AsyncioPool) else nullcontext()
        consumer.is_connected = True
        try:
            with signals_heard:
                run(consumer, connection, *args)
        except (*consumer.connection_errors, MemoryError):
            raise
        except Exception as error:
            logger.critical("the transport stumbled: %s; connecting anew", type(error).__name__)
            raise UnreadableMessageError(type(error).__name__) from None
        finally:
            consumer.is_connected = False

    def update_strategies(self) -> None:
        """As Celery's, without its own tasks: no call needs one, and nobody signs them.

        They would store whatever a message says as the outcome of whichever id it names, and enqueue what it says.
        """
        super().update_strategies()
        for name in [name for name in self.strategies if name.startswith(_BUILT_IN)]:
            del self.strategies[name]

    def wait_for_soft_shutdown(self) -> None:
        """Drain the pool for `worker_soft_shutdown_timeout` seconds, in place of sleeping for them."""
        timeout_s = self.app.conf.worker_soft_shutdown_timeout
        if not active_requests:
            self._wait_idle()
        elif timeout_s > 0:
            logger.warning("soft shutdown: calls in flight have %g s", timeout_s)
            self.pool.on_close()
            if self._outlives_connections:
                # On AMQP it would be delivered to this worker again, which still consumes.
                self._give_back_waiting()
            self.pool.drain(timeout_s)

    def on_send_event_buffered(self) -> None:  # type: ignore[override] # the stubs have it return a function
        """Send what is buffered a moment later, with what comes until then; Celery does in each turn of the hub."""
        now = monotonic()
        # A timer that was lost with its hub does not keep events for ever.
        if self.hub is not None and now >= self._flushes_at + 10 * FLUSH_S:
            self._flushes_at = now + FLUSH_S
            self.timer.call_after(FLUSH_S, self._flush_events_now)

    def _flush_events_now(self) -> None:
        self._flushes_at = float("-inf")
        if self.event_dispatcher:
            self.event_dispatcher.flush()

    # -- what outlives a connection ------------------------------------------------------------------------------------

    @property
    def _outlives_connections(self) -> bool:
        """Whether this process keeps its messages when the connection is lost: with our own Redis transport."""
        return getattr(self.conninfo.transport, "outlives_connections", False)

    @property
    def _is_stopping(self) -> bool:
        running: int = bootsteps.RUN  # type: ignore[attr-defined] # the stubs lack it
        return self.controller is None or self.controller.blueprint.state != running

    def on_close(self) -> None:
        """Called when the worker stops, and when a connection was lost.

        When it stops, what is not started goes back at once. When a connection was lost, the broker delivers what was
        taken over it again, so it is forgotten here; unless it outlives the connection, then all goes on.
        """
        if self._is_stopping:
            if self.task_consumer is not None:
                # Else the broker would give it back to this worker.
                with suppress(*self.connection_errors, *self.channel_errors):
                    self.task_consumer.cancel()
            self._give_back_waiting()
        elif self._outlives_connections:
            return
        super().on_close()

    def _give_back_waiting(self) -> None:
        """Put the messages that are not begun with back to their queues: those in the pool, and those with a time."""
        if not isinstance(self.pool, AsyncioPool):
            return
        for request in {*worker_state.requests.values(), *worker_state.reserved_requests}.difference(active_requests):
            if not request.acknowledged and self.pool.withdraw(request):
                request.acknowledged = True
                request.message.reject_log_error(logger, self.connection_errors, requeue=True)

    def shutdown(self) -> None:
        """The end: also what is cancelled goes back."""
        with suppress(*self.connection_errors, *self.channel_errors):
            self._flush_events_now()
        super().shutdown()
        sessions.end()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """As Celery's, without its advice to cancel calls in flight: they go on, and are acknowledged later."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], Any]:
        """Celery's, for which any message that raises ends: redelivered, it would raise again for ever."""
        handle = super().create_task_handler(*args, **options)
        lost = lost_connection(self.connection_errors)

        def on_task_received(message: Any) -> Any:
            name = self._task_name(message)
            if not isinstance(name, str | None) or (name is None and "task" in message.headers):
                return self.on_unknown_message(None, message)
            if end_dead(self, message) or self._end_poisonous(name, message) or self._end_large(name, message):
                return None
            try:
                return handle(message)
            except lost:
                raise
            except Exception as error:
                if not message.acknowledged:
                    self.on_decode_error(message, error)

        return on_task_received

    def _end_poisonous(self, name: object, message: Any) -> bool:
        """End a message that killed one worker after another; False if it did not."""
        deaths = message.headers.get(COUNT_HEADER)
        if not self._outlives_connections or not isinstance(deaths, int) or deaths < DEATHS_MOST:
            return False
        if self._is_foreign(message, name):
            return False
        refuse(self, message, poisoned(deaths), reason=Reason.POISONOUS)
        return True

    def _end_large(self, name: object, message: Any) -> bool:
        """End a message that would cost more memory than any call may; False if it would not. It is not decoded."""
        size = len(message.body or "")
        if size <= MAX_MESSAGE_BYTES or self._is_foreign(message, name):
            return False
        refuse(
            self,
            message,
            InvalidCallError(f"the message has {size} bytes, more than {MAX_MESSAGE_BYTES}", field="body"),
            payload=(),
        )
        return True

    # -- messages that are no task of ours -----------------------------------------------------------------------------

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """The body's content type, encoding, compression or JSON is wrong."""
        if self._is_foreign(message, self._task_name(message)):
            self._give_back(message)
            return
        refuse(self, message, InvalidCallError(f"the message cannot be read: {type(exc).__name__}", field="body"))

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Celery found a message wrong that passed our own check, or one of another task."""
        refuse(self, message, InvalidCallError(f"the message is not valid: {type(exc).__name__}", field="body"))
        signals.task_rejected.send(sender=self, message=message, exc=exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """It names no task."""
        if self._is_foreign(message, None):
            self._give_back(message)
            return
        refuse(self, message, InvalidCallError("the message names no task", field="task"))
        signals.task_rejected.send(sender=self, message=message, exc=None)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """It names a task that this worker does not have: another application's, or a mistake."""
        name = self._task_name(message)
        if self._is_foreign(message, name):
            self._give_back(message)
            return
        call_id = message.headers.get("id")
        name = printable(name)
        logger.error("task %s is not registered here; it was refused", name)
        if isinstance(call_id, str) and is_usable_id(call_id):
            self._store_unknown(call_id, name, message)
        else:
            message.reject_log_error(logger, self.connection_errors)
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=call_id)

    def _store_unknown(self, call_id: str, name: str, message: Any) -> None:
        def store() -> None:
            # Of no call: one with this id has an outcome of its own.
            with first_stands(), unless("recorded"):
                self.app.backend.mark_as_failure(call_id, NotRegistered(name))

        def done() -> None:
            message.reject_log_error(logger, self.connection_errors)
            if self.event_dispatcher:
                self.event_dispatcher.send("task-failed", uuid=call_id, exception=f"NotRegistered({name!r})")

        if isinstance(self.pool, AsyncioPool):
            self.pool.aside(store, done)
        else:
            store()
            done()

    # -- queues that we share ------------------------------------------------------------------------------------------

    def _task_name(self, message: Any) -> object:
        return message.headers.get("task") if isinstance(message.headers, dict) else None

    def _shared_queue(self, message: Any) -> str | None:
        """The shared queue that the message came from."""
        info = message.delivery_info or {}
        route = (info.get("exchange") or "", info.get("routing_key"))
        return next((name for name in SHARED_QUEUES if route in (("", name), (name, name))), None)

    def _is_foreign(self, message: Any, name: object) -> bool:
        return self._shared_queue(message) is not None and (not isinstance(name, str) or name not in self.strategies)

    def _give_back(self, message: Any) -> None:
        queue = self._shared_queue(message) or ""
        logger.critical(
            "queue %r holds a task of another application, %r. It was put back, and this worker takes nothing more "
            "from that queue. Send calls to the gateway's own queues (`gateway.signature`, or queue=…).",
            queue,
            printable(self._task_name(message)),
        )
        message.requeue()
        self.cancel_task_queue(queue)
