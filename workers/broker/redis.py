"""Kombu's Redis transport without its loss window.

Kombu pops a message and records it as unacknowledged in two steps; what dies in between takes the message with it. A
lost connection gives back all that runs; an acknowledgement is a round trip. Here a script does both steps for many
messages at once (`claim.lua`), messages belong to the process and not to a connection, and a thread acknowledges
(`session`). Publishing, fanout, priorities, declarations and the names of kombu's keys stay kombu's, so that any kombu
producer enqueues for it.
"""

import logging
from collections.abc import Callable
from functools import cached_property
from queue import Empty
from typing import Any, cast

from kombu.transport import redis as kombu_redis
from kombu.transport.redis import MultiChannelPoller
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.broker.claimer import ARMED_S, MOST, POLL_S, Claimed, Claimer, Phase, claim
from workers.broker.entry import ASIDE_KEY, ASIDE_MOST, parse, readable, stand_in
from workers.broker.qos import QoS
from workers.broker.session import Keys, Session
from workers.broker.sessions import sessions

__all__ = ["ASIDE_KEY", "Channel", "SentinelChannel", "SentinelTransport", "Transport", "readable"]

_log = logging.getLogger("gateway.broker")


class Poller(MultiChannelPoller):
    """Kombu's, which has each channel look at its claims before it polls."""

    _channels: Any
    #: The worker's event loop, where there is one.
    loop: Any = None
    _alarm: Any = None

    def on_poll_start(self) -> None:
        """In every turn of the event loop."""
        for channel in self._channels:
            channel.look()
        super().on_poll_start()
        if self.loop is not None and self._alarm is None and not all(one.claimer.tells for one in self._channels):
            # The loop sleeps up to a second, unless it is told to look.
            self._alarm = self.loop.call_repeatedly(POLL_S, int)

    def get(self, callback: Callable[..., Any], timeout: float | None = None) -> Any:
        """As kombu's; it comes back often enough to claim again."""
        most_s = ARMED_S if all(one.claimer.tells for one in self._channels) else POLL_S
        return super().get(callback, most_s if timeout is None else min(timeout, most_s))

    def close(self) -> None:
        """The connection ends."""
        if self._alarm is not None:
            self._alarm.cancel()
        super().close()


class _Claims:
    """Makes a Redis channel of kombu's claim. Where kombu says BRPOP, it is a claim here."""

    QoS: Any = QoS
    #: Seconds: a consumer that was not heard of for so long is dead, and how often a live one is heard of.
    consumer_silence = 9.0
    consumer_beat = 3.0

    _kept: "tuple[object, Any] | None" = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self.claimer = Claimer()
        super().__init__(*args, **options)

    @cached_property
    def session(self) -> Session:
        """What this process takes from this broker."""
        kombu: Any = self  # whose stubs know few of these names
        connection = kombu.connection.client
        names = ("hostname", "port", "virtual_host", "alt")
        broker = (*(str(getattr(connection, name, None)) for name in names), getattr(kombu, "master_name", None))
        return sessions.of((*broker, kombu.global_keyprefix, kombu.unacked_key), self._new_session)

    def _new_session(self) -> Session:
        kombu: Any = self
        prefix = kombu.global_keyprefix
        keys = Keys(
            unacked=f"{prefix}{kombu.unacked_key}",
            index=f"{prefix}{kombu.unacked_index_key}",
            claims=f"{prefix}gateway:claims",
            consumers=f"{prefix}gateway:consumers",
            swept=f"{prefix}gateway:swept",
        )
        # The channel closes those it made for itself; this pool outlives the channel.
        managed = kombu._sentinel_manager
        pool = kombu._get_pool()
        kombu._sentinel_manager = managed
        pool.connection_kwargs["retry"] = Retry(NoBackoff(), 0)
        return Session(keys, pool, silence_s=self.consumer_silence, beat_s=self.consumer_beat)

    def _create_client(self, asynchronous: bool = False) -> Any:
        """As kombu's, which makes a client anew for each operation: of a worker at full speed that is every tenth step.

        One client takes a connection from its pool for each command, so threads may share it.
        """
        kombu: Any = super()
        if asynchronous:
            return kombu._create_client(asynchronous=True)
        pool = kombu.pool
        if self._kept is None or self._kept[0] is not pool:
            self._kept = (pool, kombu._create_client())
        return self._kept[1]

    # -- claiming ------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Before each poll: claim again if it is time, give up a connection that does not answer."""
        kombu: Any = self
        if self.claimer.due and kombu.qos.can_consume():
            kombu._in_poll = None
        elif self.claimer.overdue:
            connection, stubless = kombu._in_poll, cast("Any", kombu_redis)
            if connection and connection._sock is not None and not stubless._socket_readable(connection._sock):
                _log.warning("the broker does not answer; its connection is dropped")
                connection.disconnect()

    def _brpop_start(self, timeout: float | None = None) -> None:
        kombu: Any = self
        queues = kombu._queue_cycle.consume(len(kombu.active_queues))
        if not queues:
            return
        session, qos, connection = self.session, kombu.qos, kombu.client.connection
        session.adopt(qos)
        credit = qos.can_consume_max_estimate()
        wanted = MOST if credit is None else credit
        if wanted <= 0:
            return
        if self.claimer.is_new(connection):
            self.claimer.begin(connection, session.new_link())
        self._asked_queues = list(queues)
        # Set first: what fails while it is sent disconnects, which clears it.
        kombu._in_poll = connection
        self.claimer.ask(connection, self._keys(queues), session.id, wanted, len(queues))

    def _keys(self, queues: list[str]) -> list[str]:
        """As `claim.lua` takes them."""
        kombu: Any = self
        keys, prefix = self.session.keys, kombu.global_keyprefix
        lists = (f"{prefix}{kombu._q_for_pri(queue, step)}" for step in kombu.priority_steps for queue in queues)
        return [keys.unacked, keys.index, keys.claims, f"{prefix}{ASIDE_KEY}", keys.consumers, *lists]

    def _brpop_read(self, **options: Any) -> bool:
        kombu: Any = self
        connection = kombu.client.connection
        try:
            claimed = self.claimer.read(connection)
        except kombu.connection_errors:
            # Without the disconnect the next read would go on in the middle of a reply.
            connection.disconnect()
            raise
        finally:
            if self.claimer.phase is Phase.READY:
                kombu._in_poll = None
                kombu._flush_brpop_reauth()
        if not claimed:
            raise Empty
        self._deliver_all(claimed)
        return True

    def _deliver_all(self, claimed: list[Claimed]) -> None:
        kombu: Any = self
        transport, queues = kombu.connection, self._asked_queues
        self.session.take((entry.tag for entry in claimed if entry.tag), kombu.qos)
        for number in dict.fromkeys(entry.number % len(queues) for entry in claimed):
            kombu._queue_cycle.rotate(queues[number])
        delivered = 0
        try:
            for entry in claimed:
                delivered += 1
                queue = queues[entry.number % len(queues)]
                transport._deliver(self._read_entry(entry, queue), queue)
        finally:
            for entry in claimed[delivered:]:
                self.session.give_back(entry.tag)

    def _read_entry(self, claimed: Claimed, queue: str) -> dict[str, Any]:
        entry, is_message = parse(claimed.raw)
        if is_message and claimed.tag:
            message: dict[str, Any] = entry
            return message
        _log.error("an entry of the queue %s is no message; it is kept in %s", queue, ASIDE_KEY)
        if claimed.tag:
            kombu: Any = self
            with kombu.conn_or_acquire() as client, client.pipeline() as pipe:
                key = f"{kombu.global_keyprefix}{ASIDE_KEY}"
                pipe.lpush(key, claimed.raw)
                pipe.ltrim(key, 0, ASIDE_MOST - 1)
                pipe.execute()
        return stand_in(entry, queue, claimed.tag or None)

    def basic_get(self, queue: str, no_ack: bool = False, **options: Any) -> Any:
        """As kombu's; what is to be acknowledged is claimed."""
        kombu: Any = self
        if no_ack:
            return super().basic_get(queue, no_ack=True, **options)  # type: ignore[misc] # as in `close`
        link = self.session.new_link()
        try:
            claimed = claim(self.session, self._keys([queue]), link, 1, 1)
        except BaseException:
            self.session.close_link(link)
            raise
        for entry in claimed:
            self.session.take([entry.tag] if entry.tag else [], kombu.qos)
            message = kombu.Message(self._read_entry(entry, queue), channel=self)
            kombu.qos.append(message, message.delivery_tag)
            return message
        return None

    # -- endings -------------------------------------------------------------------------------------------------------

    def _on_connection_disconnect(self, connection: Any) -> None:
        kombu: Any = super()
        client = self.__dict__.get("client")
        if client is not None and client.connection is connection and self.claimer.forget():
            self.session.close_link(self.claimer.link)
        kombu._on_connection_disconnect(connection)

    def _basic_cancel(self, consumer_tag: str) -> Any:
        kombu: Any = self
        answer = super()._basic_cancel(consumer_tag)  # type: ignore[misc] # the stubs lack it
        if not kombu.active_queues:
            self._drop_claim()
        return answer

    def _drop_claim(self) -> None:
        """Whatever a claim on its way takes goes back: nobody reads its answer."""
        if self.claimer.phase is Phase.ASKED:
            kombu: Any = self
            kombu.client.connection.disconnect()

    def close(self) -> None:
        """As kombu's, which waits for an answer first, and gives back all that was taken over this channel."""
        kombu: Any = self
        self._drop_claim()
        kombu._in_poll = None
        super().close()  # type: ignore[misc] # of the channel that this is mixed into


_OPTIONS = ("consumer_silence", "consumer_beat")


class Channel(_Claims, kombu_redis.Channel):
    """A channel that claims."""

    from_transport_options = (*kombu_redis.Channel.from_transport_options, *_OPTIONS)


class SentinelChannel(_Claims, kombu_redis.SentinelChannel):
    """A channel that claims, at whichever server is the master."""

    from_transport_options = (*kombu_redis.SentinelChannel.from_transport_options, *_OPTIONS)


class Transport(kombu_redis.Transport):
    """Select it with `broker_transport = "workers.broker.redis:Transport"`; takes what any kombu producer enqueues.

    Its own transport options: `consumer_silence` and `consumer_beat`, seconds.
    """

    Channel: Any = Channel
    #: What was taken stays with this process when a connection is lost.
    outlives_connections = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cycle: Any = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """As kombu's."""
        self.cycle.loop = loop
        super().register_with_event_loop(connection, loop)


class SentinelTransport(Transport):
    """The same for `sentinel://` brokers."""

    default_port = 26379
    Channel = SentinelChannel
