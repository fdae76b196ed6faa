"""A channel of RabbitMQ that confirms tasks, and gives up in time.

It is where a call gets onto the broker: each way in which it does not is an error of its own.
"""

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic, sleep
from typing import Any

from amqp.exceptions import MessageNacked, RecoverableConnectionError
from kombu.transport import pyamqp

__all__ = [
    "WAIT_S",
    "BrokerBlockedError",
    "Channel",
    "UnconfirmedError",
    "UnroutableError",
    "bounded",
]

#: Seconds for a confirm, for the answer to any other request, and for a write.
WAIT_S = 5.0
#: Seconds that a message waits for a memory or disk alarm to end.
_BLOCKED_S = 1.0
#: Seconds before each next try of a message that RabbitMQ could not take: a quorum queue that has no leader yet, or has
#: just lost it, is such a case. If it was taken all the same, there are two messages of one call, and one lease.
_NACKED_S = (0.05, 0.1, 0.2, 0.4, 0.8)


class NotTakenError(RecoverableConnectionError):
    """A message did not get onto the broker, or nobody knows.

    Attributes:
        not_sent: whether it surely did not.
    """

    not_sent = False

    def __init__(self, message: str, *, not_sent: bool) -> None:
        super().__init__(message)
        self.not_sent = not_sent


class BrokerBlockedError(NotTakenError):
    """RabbitMQ takes no messages on this connection: its memory or its disk is running out."""


class UnroutableError(NotTakenError):
    """No queue wanted the message, which is gone."""


class UnconfirmedError(NotTakenError):
    """RabbitMQ did not say in time that it has the message."""


class Batch:
    """What `kombu.Producer.batch` needs: messages are kept until `max_size` of them are there, or until `flush`."""

    def __init__(self, channel: Any, max_size: int) -> None:
        self.channel = channel
        self._max_size = max_size
        self._kept: list[tuple[Any, dict[str, Any]]] = []

    def publish(self, message: Any, **options: Any) -> None:
        """Keep one more; may flush."""
        self._kept.append((message, options))
        if len(self._kept) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Send what is kept; raises what `Channel.publish_all` does."""
        kept, self._kept = self._kept, []
        if kept:
            self.channel.publish_all(kept)

    def discard(self) -> None:
        """Forget what is kept."""
        self._kept = []

    def close(self) -> None:
        """Nothing is held."""


class Channel(pyamqp.Channel):
    """Confirms tasks, and only those.

    Events and replies of the remote control have no confirm, and are dropped while the connection is blocked: nobody
    may wait for them. A task is `mandatory`, so that one for a queue that is gone is an error.
    """

    connection: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._forget()

    def _forget(self) -> None:
        self._selected = False
        self._published = 0
        #: Numbers of the tasks that RabbitMQ has not confirmed.
        self._open: set[int] = set()
        self._nacked: set[int] = set()
        self._returned: list[str] = []

    def _do_revive(self) -> None:
        self._forget()
        super()._do_revive()  # type: ignore[misc]  # the stubs leave it out

    def message_to_python(self, raw_message: Any) -> Any:
        """As kombu's, which unpacks a compressed message at once: not one that has ended its workers already."""
        headers = raw_message.properties.get("application_headers")
        if isinstance(headers, dict) and _is_fatal(headers):
            raw_message.properties["application_headers"] = {
                name: value for name, value in headers.items() if name != "compression"
            }
        return super().message_to_python(raw_message)

    def wait(self, method: Any, callback: Any = None, timeout: float | None = None, returns_tuple: bool = False) -> Any:
        """As py-amqp's, with a bound: who does not answer has lost this connection."""
        return bounded(self.connection, super().wait, method, callback, timeout, returns_tuple)

    def close(self, *args: Any, **options: Any) -> Any:
        """As py-amqp's, unless RabbitMQ does not listen."""
        if self.connection is not None and self.connection.blocked:
            self.collect()
            return None
        return super().close(*args, **options)

    def basic_publish_confirm(self, msg: Any, *args: Any, confirm_timeout: float | None = None, **options: Any) -> None:
        """In place of py-amqp's: publish one message, and see a task confirmed.

        Raises:
            BrokerBlockedError, UnroutableError, UnconfirmedError: RabbitMQ does not have it, or nobody knows.
            MessageNacked: RabbitMQ could not take it, however often.
        """
        if not _is_task(msg):
            self._tell(msg, *args, **options)
            return
        self._check()
        self._publish([partial(self._put, msg, *args, **options)], min(confirm_timeout or WAIT_S, WAIT_S))

    def create_publish_batch(self, max_size: int) -> Batch:
        """Many messages that are written at once and confirmed together."""
        return Batch(self, max_size)

    def publish_all(self, messages: list[tuple[Any, dict[str, Any]]]) -> None:
        """Write all, then see them all confirmed.

        Raises:
            BrokerBlockedError, UnroutableError, UnconfirmedError, MessageNacked: some may be taken, unless it has
                `not_sent`.
        """
        self._check()
        self._publish([partial(self._put, message, **options) for message, options in messages], WAIT_S)

    def _publish(self, puts: Sequence[Callable[[], None]], bound_s: float) -> None:
        """Write all, and see them confirmed; what RabbitMQ could not take is written again a few times."""
        pauses = iter(_NACKED_S)
        ends, alone = monotonic() + bound_s, len(puts) == 1
        while puts:
            numbered = {}
            for put in puts:
                put()
                numbered[self._published] = put
            nacked = self._settle(ends - monotonic(), alone)
            if nacked:
                pause_s = next(pauses, None)
                if pause_s is None or monotonic() + pause_s >= ends:
                    raise MessageNacked
                sleep(pause_s)
            puts = [numbered[number] for number in sorted(nacked)]

    def _check(self) -> None:
        """Select confirms, and see whether RabbitMQ takes messages now."""
        if self.connection is None:
            raise RecoverableConnectionError("the connection is closed")
        if not self._selected:
            self.confirm_select()
            self._selected = True
        while self.connection.look():
            pass
        if self.connection.blocked:
            raise BrokerBlockedError("RabbitMQ takes no messages: its memory or disk alarm is on", not_sent=True)

    def _tell(self, msg: Any, *args: Any, **options: Any) -> None:
        if self.connection is not None and self.connection.blocked:
            # Nobody else reads from a connection that carries events.
            self.connection.look()
            if self.connection is not None and self.connection.blocked:
                return
        self._put(msg, *args, **options | {"confirmed": False})

    def _put(
        self,
        msg: Any,
        exchange: str = "",
        routing_key: str = "",
        timeout: float | None = None,
        confirmed: bool = True,
        **options: Any,
    ) -> None:
        options["mandatory"] = confirmed or options.get("mandatory", False)
        options.pop("confirm_timeout", None)
        if self._selected:
            self._published += 1
            if confirmed:
                self._open.add(self._published)
        try:
            # The class's own: the instance's is `basic_publish_confirm`.
            super().basic_publish(
                msg, exchange=exchange, routing_key=routing_key, timeout=min(timeout or WAIT_S, WAIT_S), **options
            )
        except OSError:
            # Half a frame may be written.
            _drop(self.connection)
            raise

    def _settle(self, bound_s: float, alone: bool) -> set[int]:
        """Wait until what was published is confirmed; the numbers of what RabbitMQ refused."""
        ends = monotonic() + bound_s
        connection = self.connection
        try:
            while self._open:
                if connection is None or not connection.connected:
                    raise RecoverableConnectionError("the connection was lost before the confirm")
                if connection.blocked:
                    ends = min(ends, connection.blocked_at + _BLOCKED_S)
                left_s = ends - monotonic()
                if left_s <= 0 or not connection.look(left_s):
                    self._give_up(connection, bound_s)
            if self._returned:
                raise UnroutableError(
                    f"no queue takes {self._returned[0]}; was it deleted? It is declared again with the next message",
                    not_sent=alone,
                )
            return set(self._nacked)
        finally:
            self._open.clear()
            self._nacked.clear()
            self._returned.clear()

    def _give_up(self, connection: Any, bound_s: float) -> None:
        if connection.blocked:
            raise BrokerBlockedError("RabbitMQ takes no messages: its memory or disk alarm is on", not_sent=False)
        _drop(connection)
        raise UnconfirmedError(f"RabbitMQ did not confirm within {bound_s:.2g} s", not_sent=False)

    def _on_basic_ack(self, delivery_tag: int, multiple: bool) -> None:
        self._open -= self._meant(delivery_tag, multiple)
        super()._on_basic_ack(delivery_tag, multiple)  # type: ignore[misc]  # the stubs leave it out

    def _on_basic_nack(self, delivery_tag: int, multiple: bool) -> None:
        refused = self._meant(delivery_tag, multiple)
        self._open -= refused
        self._nacked |= refused
        super()._on_basic_nack(delivery_tag, multiple)  # type: ignore[misc]  # the stubs leave it out

    def _meant(self, delivery_tag: int, multiple: bool) -> set[int]:
        if multiple:
            return {number for number in self._open if number <= delivery_tag}
        return self._open & {delivery_tag}

    def _on_basic_return(self, reply_code: int, reply_text: str, exchange: str, routing_key: str, message: Any) -> None:
        self._returned.append(f"{exchange or 'the default exchange'} → {routing_key}")
        client = self.connection.client
        if client is not None:
            # kombu declares a queue once for each connection.
            client.declared_entities.clear()


def _is_fatal(headers: dict[str, Any]) -> bool:
    deaths = headers.get("x-death")
    return isinstance(deaths, list) and any(
        isinstance(death, dict) and death.get("reason") == "delivery_limit" for death in deaths
    )


def _is_task(message: Any) -> bool:
    headers = message.properties.get("application_headers")
    return isinstance(headers, dict) and "task" in headers


def bounded(
    connection: Any, wait: Callable[..., Any], method: Any, callback: Any, timeout: float | None, returns_tuple: bool
) -> Any:
    """Wait as py-amqp does, and drop a connection that does not answer in time (`WAIT_S` if nobody says how long)."""
    bound_s = timeout or WAIT_S
    try:
        return wait(method, callback=callback, timeout=bound_s, returns_tuple=returns_tuple)
    except TimeoutError:
        _drop(connection)
        raise RecoverableConnectionError(f"RabbitMQ did not answer within {bound_s:g} s") from None


def _drop(connection: Any) -> None:
    """Close a connection of which nobody knows what is on its way."""
    if connection is not None and connection.connected:
        connection.collect()
