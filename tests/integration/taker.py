"""A consumer on our Redis transport, in this process, and a producer on kombu's own."""

import time
from collections.abc import Callable
from typing import Any, Self

from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.asynchronous import Hub

from workers.broker.claimer import Phase

__all__ = ["Taker", "publish", "queue"]


def queue(name: str) -> Queue:
    """As Celery declares its queues."""
    return Queue(name, Exchange(name), routing_key=name)


def publish(url: str, name: str, *bodies: Any, priority: int = 0) -> None:
    """Enqueue with kombu's own transport."""
    with Connection(url) as connection:
        queue(name)(connection.default_channel).declare()
        producer = Producer(connection)
        for body in bodies:
            producer.publish({"n": body}, routing_key=name, exchange=name, priority=priority, serializer="json")


class Taker:
    """Takes messages and keeps them unacknowledged, as many as its credit allows.

    Args:
        url: of the broker.
        queues: names.
        credit: most messages that it has at once.
        transport: the class.
        ticks: whether its event loop turns often; else up to once a second, as long as nothing happens.
        options: of the transport.
    """

    def __init__(
        self,
        url: str,
        *queues: str,
        credit: int = 10,
        transport: str = "workers.broker.redis:Transport",
        ticks: bool = True,
        **options: Any,
    ) -> None:
        self.got: list[Any] = []
        self.hub = Hub()
        if ticks:
            self.hub.call_repeatedly(0.05, int)
        self.connection = Connection(
            url, transport=transport, transport_options={"visibility_timeout": 3600, **options}
        )
        self.channel: Any = self.connection.default_channel
        self.connection.transport.register_with_event_loop(self.connection.connection, self.hub)
        self.consumer = Consumer(
            self.channel, [queue(name) for name in queues], on_message=self.got.append, prefetch_count=credit
        )
        self.consumer.consume()
        self.consumer.qos(prefetch_count=credit)

    @property
    def bodies(self) -> list[Any]:
        """What is in the messages that it was given, in order."""
        return [message.payload["n"] for message in self.got]

    @property
    def session(self) -> Any:
        """What this process has taken from the broker."""
        return self.channel.session

    def turn(self, until: Callable[[], object], timeout: float = 5.0) -> None:
        """Run the event loop until something holds."""
        ends = time.monotonic() + timeout
        while not until():
            assert time.monotonic() < ends, f"not within {timeout:g} s: {self.got}"
            self.hub.run_once()

    def idle(self, seconds: float = 0.3) -> None:
        """Run the event loop for a while, in which it takes what it can get."""
        ends = time.monotonic() + seconds
        self.turn(lambda: time.monotonic() >= ends)

    def armed(self) -> None:
        """Run the event loop until the transport has seen that there is nothing to take."""
        self.turn(lambda: self.channel.claimer.phase is Phase.ARMED)

    def settled(self) -> None:
        """Wait until the broker knows all that was settled here."""
        assert self.session.flush(5.0)

    def close(self) -> None:
        """End the connection, and nothing else."""
        self.connection.close()
        self.hub.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
