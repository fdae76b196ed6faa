"""Puts messages on the broker, many in one round of network."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from celery import Celery

from gateway.broker import BROKER_ERRORS
from gateway.codec import TASK
from gateway.errors import Delivery, GatewayUnavailableError

__all__ = ["Message", "Publisher"]

_CONNECT_S = 5.0


class Message(NamedTuple):
    """A checked call, ready to be enqueued.

    Attributes:
        call_id: the Celery task's id.
        kwargs: the task's keyword arguments.
        options: how Celery sends it: `queue`, `shadow`, `argsrepr`, `kwargsrepr`, `headers`.
        deadline_at: of the call, as a Unix time in seconds.
    """

    call_id: str
    kwargs: dict[str, Any]
    options: dict[str, Any]
    deadline_at: float


class Publisher:
    """Sends messages through a Celery app's pool of connections.

    It does what `Celery.send_task` does, without its subscription to each result and with many messages in one batch.
    """

    def __init__(self, celery: Celery) -> None:
        self._celery = celery

    def send(self, messages: Sequence[Message]) -> None:
        """Enqueue all messages.

        Raises:
            GatewayUnavailableError: the broker does not answer; `delivery` says whether some may be enqueued.
        """
        amqp: Any = self._celery.amqp
        producers: Any = self._celery.producer_pool
        connected = False
        try:
            with producers.acquire(block=True) as producer:
                producer.connection.ensure_connection(max_retries=1, timeout=_CONNECT_S)
                connected = True
                with producer.batch():
                    for message in messages:
                        options = dict(message.options)
                        queue, headers = options.pop("queue"), options.pop("headers")
                        task = amqp.create_task_message(message.call_id, TASK, kwargs=message.kwargs, **options)
                        amqp.send_task_message(producer, TASK, task, queue=queue, headers=headers)
        except BROKER_ERRORS as error:
            raise GatewayUnavailableError(
                f"the broker does not answer ({type(error).__name__}: {error}); is it running and reachable?",
                delivery=Delivery.MAYBE_SENT if connected else Delivery.NOT_SENT,
                call_id=messages[0].call_id,
            ) from error
