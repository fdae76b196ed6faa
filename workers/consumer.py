"""The worker's consumer: nothing that lies in a queue can end the worker, and nothing that is not ours gets lost."""

import warnings
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.exceptions import CPendingDeprecationWarning, NotRegistered
from celery.utils.log import get_logger
from celery.worker import loops
from celery.worker.consumer import Consumer
from celery.worker.state import active_requests
from kombu.message import Message

from gateway.errors import InvalidCallError
from workers.pool import AsyncioPool
from workers.pool import revoke as pool_revoke
from workers.refusal import is_usable_id, lost_connection, printable, refuse

__all__ = ["GatewayConsumer", "UnreadableMessageError"]

logger = get_logger(__name__)

#: Queues that other applications may share with us: Celery's default queue.
SHARED_QUEUES = frozenset({"celery"})


class UnreadableMessageError(ConnectionError):
    """The transport itself stumbled over something; the consumer connects anew."""


class GatewayConsumer(Consumer):
    """Select it with `worker_consumer = "workers.consumer:GatewayConsumer"`."""

    connection: Any
    controller: Any
    connection_errors: tuple[type[BaseException], ...]
    event_dispatcher: Any
    strategies: Any
    task_consumer: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
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
        try:
            run(consumer, connection, *args)
        except (*consumer.connection_errors, MemoryError):
            raise
        except Exception as error:
            logger.critical("the transport stumbled: %s; connecting anew", type(error).__name__)
            raise UnreadableMessageError(type(error).__name__) from None

    def wait_for_soft_shutdown(self) -> None:
        """Drain the pool for `worker_soft_shutdown_timeout` seconds, in place of sleeping for them."""
        timeout_s = self.app.conf.worker_soft_shutdown_timeout
        if not active_requests:
            self._wait_idle()
        elif timeout_s > 0:
            logger.warning("soft shutdown: calls in flight have %g s", timeout_s)
            self.pool.drain(timeout_s)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """As Celery's, without its advice to cancel calls in flight: they go on, and are acknowledged later.

        A Redis that is gone makes kombu raise AttributeError while it gives unacknowledged messages back, which would
        end the worker. They stay in Redis, for `call_soon_ack` or the visibility timeout.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            try:
                super().on_connection_error_after_connected(exc)
            except Exception as error:
                logger.warning("the lost connection was not closed in order: %s", type(error).__name__)

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Acknowledge or reject a message, also one whose connection was lost while its call ran.

        kombu's Redis channel raises AttributeError once it is closed, which would end the worker. There a delivery tag
        names the message on any connection, and keeps its name when the message is delivered again: so the new channel
        acknowledges it. On AMQP the tag died with its channel, and Celery logs that.
        """
        message = getattr(p, "__self__", None)
        if not isinstance(message, Message) or not getattr(message.channel, "closed", False):
            return super().call_soon_ack(p, *args, **kwargs)  # type: ignore[misc]
        channel = self.task_consumer.channel if self.task_consumer is not None else None
        try:
            if channel is None or self.connection.transport.driver_type != "redis":
                logger.warning("a task that ended after its connection was lost may run again")
            elif p.__name__ == "ack_log_error":
                channel.basic_ack(message.delivery_tag)
            else:
                channel.basic_reject(message.delivery_tag, requeue=bool(args[2:] and args[2]))
        except self.connection_errors as error:
            logger.warning("a task that ended is not acknowledged, and may run again: %s", type(error).__name__)
        return None

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], Any]:
        """Celery's, for which any message that raises ends: redelivered, it would raise again for ever."""
        handle = super().create_task_handler(*args, **options)
        lost = lost_connection(self.connection_errors)

        def on_task_received(message: Any) -> Any:
            name = self._task_name(message)
            if not isinstance(name, str | None) or (name is None and "task" in message.headers):
                return self.on_unknown_message(None, message)
            try:
                return handle(message)
            except lost:
                raise
            except Exception as error:
                if not message.acknowledged:
                    self.on_decode_error(message, error)

        return on_task_received

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
