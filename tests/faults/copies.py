"""Messages that reach the workers more than once."""

from types import TracebackType
from typing import Any, NamedTuple, Self

from celery import Celery
from celery.signals import before_task_publish
from kombu import Producer

from gateway.codec import TASK

__all__ = ["Copies"]


class _Message(NamedTuple):
    body: Any
    headers: dict[str, Any]
    exchange: Any
    routing_key: str


class Copies:
    """Remembers what a producer enqueues while it is entered, and enqueues the same once more.

    Args:
        celery: the producer's app.
    """

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._messages: list[_Message] = []

    def publish(self, times: int) -> int:
        """Enqueue every message so many times more; how many these were."""
        messages = list(self._messages) * times
        with self._celery.connection_for_write() as connection:
            channel: Any = connection.default_channel
            producer: Any = Producer(channel, serializer="json")
            for message in messages:
                producer.publish(
                    message.body,
                    headers=message.headers,
                    exchange=message.exchange,
                    routing_key=message.routing_key,
                    # Where nobody takes it, the fault would be none.
                    mandatory=True,
                )
        return len(messages)

    def _remember(
        self, body: Any = None, headers: Any = None, exchange: Any = None, routing_key: Any = None, **_: object
    ) -> None:
        # The gateway's own receiver writes into the body, so what counts is the object itself.
        self._messages.append(_Message(body, headers, exchange, str(routing_key)))

    def __enter__(self) -> Self:
        before_task_publish.connect(self._remember, sender=TASK, weak=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        before_task_publish.disconnect(self._remember, sender=TASK)
