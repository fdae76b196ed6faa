"""A user of RabbitMQ whose password is a canary, and a queue that gets a copy of every call's message."""

from collections.abc import Iterator

from kombu import Connection, Exchange, Queue

from gateway.dev.rabbitmq import RabbitMQ

__all__ = ["Spy"]


class Spy:
    """In a virtual host of its own.

    Attributes:
        url: of the broker, with the password.
    """

    def __init__(self, rabbitmq: RabbitMQ, password: str) -> None:
        self._rabbitmq = rabbitmq
        self._name = rabbitmq.new_vhost()
        user = f"user-{self._name}"
        rabbitmq.ask(
            f'rabbit_auth_backend_internal:add_user(<<"{user}">>, <<"{password}">>, <<"guest">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"{user}">>, <<"{self._name}">>, '
            '<<".*">>, <<".*">>, <<".*">>, <<"guest">>)'
        )
        self.url = rabbitmq.url(self._name).replace("guest:guest", f"{user}:{password}")
        # As the gateway declares it, which finds it then.
        exchange = Exchange("gateway:calls", type="topic", durable=True)
        self._connection = Connection(self.url)
        self._queue = Queue("spy", exchange, routing_key="#")(self._connection.channel())
        self._queue.declare()

    def messages(self) -> Iterator[str]:
        """Headers, properties and body of each."""
        while (message := self._queue.get(no_ack=True)) is not None:
            yield f"{message.headers} {message.properties} {message.body}"

    def close(self) -> None:
        """Give it back."""
        self._connection.release()
        self._rabbitmq.drop_vhost(self._name)
