"""Puts messages on the broker, many in one round of network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import redis
from celery import Celery
from kombu.exceptions import ChannelError, SerializationError

from gateway.broker import BROKER_ERRORS
from gateway.codec import TASK
from gateway.errors import Delivery, GatewayUnavailableError, InvalidCallError

__all__ = ["Message", "Publisher"]

_CONNECT_S = 5.0
_ACQUIRE_S = 5.0
_BATCH = 1000


class Message(NamedTuple):
    """A checked call, ready to be enqueued.

    Attributes:
        call_id: the Celery task's id.
        kwargs: the task's keyword arguments.
        options: how Celery sends it: `queue`, `shadow`, `argsrepr`, `kwargsrepr`, `headers`.
        deadline_at: of the call, fleet time (see `gateway.clock`): a Unix time in seconds.
    """

    call_id: str
    kwargs: dict[str, Any]
    options: dict[str, Any]
    deadline_at: float


class Publisher:
    """Sends messages through a Celery app's pool of connections.

    It does what `Celery.send_task` does, without its subscription to each result and with many messages in one batch.

    Args:
        celery: the app whose connections are used.
        acquire_s: seconds to wait for one of them while all are in use.
    """

    def __init__(self, celery: Celery, *, acquire_s: float = _ACQUIRE_S) -> None:
        self._celery = celery
        self._acquire_s = acquire_s

    def waiting(self, queue: str) -> int:
        """How many messages are in a queue that no worker has taken.

        Raises:
            GatewayUnavailableError: the broker does not answer.
        """
        try:
            with self._connection() as connection:
                return _depth(connection, queue)
        except BROKER_ERRORS as error:
            raise _does_not_take(error) from error

    def send(self, messages: Sequence[Message]) -> None:
        """Enqueue all messages, within seconds or not at all.

        Raises:
            GatewayUnavailableError: the broker does not answer, or refuses; `delivery` says whether some may be
                enqueued.
            InvalidCallError: a message cannot be encoded, which whoever made it should have seen; none is enqueued.
        """
        amqp: Any = self._celery.amqp
        # What a failure means now: may some be on the broker?
        delivery = Delivery.NOT_SENT
        try:
            with (
                self._connection() as connection,
                amqp.Producer(connection) as producer,
                producer.batch(max_size=_BATCH),
            ):
                for number, message in enumerate(messages, 1):
                    # A batch is kept back until it is full.
                    if number >= _BATCH:
                        delivery = Delivery.MAYBE_SENT
                    options = dict(message.options)
                    queue, headers = options.pop("queue"), options.pop("headers")
                    task = amqp.create_task_message(message.call_id, TASK, kwargs=message.kwargs, **options)
                    amqp.send_task_message(producer, TASK, task, queue=queue, headers=headers)
                delivery = Delivery.MAYBE_SENT
        except SerializationError as error:
            # Messages are checked before; what a `before_task_publish` receiver adds is not.
            raise InvalidCallError.because("call", f"it cannot be encoded ({error})", "pass plain JSON") from error
        except BROKER_ERRORS as error:
            if len(messages) == 1 and _is_refusal(error):
                delivery = Delivery.NOT_SENT
            raise _does_not_take(error, delivery=delivery, call_id=messages[0].call_id) from error

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """A connection that works, as far as can be seen."""
        # Not Celery's pool of producers: that one waits without a bound for a connection.
        connections: Any = self._celery.pool
        with connections.acquire(block=True, timeout=self._acquire_s) as connection:
            connection.ensure_connection(max_retries=1, timeout=_CONNECT_S)
            if not _is_open(connection):
                connection.collect()
                connection.ensure_connection(max_retries=1, timeout=_CONNECT_S)
            yield connection


def _depth(connection: Any, queue: str) -> int:
    try:
        if connection.transport.driver_type == "redis":
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
        # One of its own: RabbitMQ closes a channel that asks for a queue which is not there.
        with connection.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)
    except ChannelError as error:
        if getattr(error, "reply_code", None) in (404, "404"):
            return 0
        raise


def _is_open(connection: Any) -> bool:
    """Whether the broker has not closed it while it lay idle; RabbitMQ's says so in what was not read yet."""
    look = getattr(connection.connection, "look", None)
    try:
        while look is not None and look():
            pass
    except BROKER_ERRORS:
        return False
    return True


def _is_refusal(error: Exception) -> bool:
    """Whether the broker surely does not have the one message."""
    cause = error.__cause__ or error
    # Redis took the connection and answered no to the one command: out of memory, read-only, not allowed.
    return isinstance(cause, redis.ResponseError) or bool(getattr(cause, "not_sent", False))


def _does_not_take(error: Exception, **fields: Any) -> GatewayUnavailableError:
    why = f"the broker does not take calls ({_why(error)}); is it running, reachable and not full?"
    return GatewayUnavailableError(why, **fields)


def _why(error: BaseException) -> str:
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return said if error.__cause__ is None else f"{said}: {_why(error.__cause__)}"
