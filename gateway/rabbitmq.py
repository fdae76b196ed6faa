"""Kombu's RabbitMQ transport, with a bound on everything that waits.

py-amqp waits without one for a confirm, for the answer to a declaration and for a connection that RabbitMQ has blocked,
and takes no notice of a message that RabbitMQ could not route. Here each of them becomes an error within seconds, so
that a producer gets a typed error, and a worker's hub goes on.
"""

import logging
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import cycle
from time import monotonic
from typing import Any

from kombu.connection import failover_strategies  # type: ignore[attr-defined]  # the stubs lack it
from kombu.transport import TRANSPORT_ALIASES, pyamqp

from gateway.rabbitmq_channel import Channel, bounded

__all__ = ["NEXT", "Connection", "SSLTransport", "Transport", "alias_of"]

_log = logging.getLogger("gateway.broker")

#: Seconds for RabbitMQ to say goodbye.
_CLOSE_S = 1.0
#: Ends a connection with a reset, which takes back what the other side has not read.
_RESET = struct.pack("ii", 1, 0)

#: kombu's names of the transports here. It takes a transport from the URL's scheme when it fails over to the next one.
TRANSPORT_ALIASES["gateway-amqp"] = "gateway.rabbitmq:Transport"
TRANSPORT_ALIASES["gateway-amqps"] = "gateway.rabbitmq:SSLTransport"


class Connection(pyamqp.Connection):
    """Knows whether RabbitMQ blocks it.

    Attributes:
        blocked: RabbitMQ has said that it reads nothing more, since it runs out of memory or disk.
        blocked_at: when, on the monotonic clock.
    """

    Channel = Channel

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.blocked = False
        self.blocked_at = 0.0
        self.on_blocked = self._now_blocked
        self.on_unblocked = self._now_free

    def _now_blocked(self, _: str) -> None:
        self.blocked, self.blocked_at = True, monotonic()
        _log.warning("RabbitMQ takes no messages any more: its memory or disk alarm is on")

    def _now_free(self) -> None:
        self.blocked = False
        _log.warning("RabbitMQ takes messages again")

    def wait(self, method: Any, callback: Any = None, timeout: float | None = None, returns_tuple: bool = False) -> Any:
        """As py-amqp's, with a bound."""
        bound_s = _CLOSE_S if self.is_closing else timeout
        return bounded(self, super().wait, method, callback, bound_s, returns_tuple)

    def look(self, timeout: float = 0.0) -> bool:
        """Read one frame, for which it waits `timeout` seconds at most. False if there was none."""
        try:
            # Not `drain_events`, which waits on after a notice that the connection is blocked.
            self.blocking_read(timeout)
        except TimeoutError:
            return False
        return True

    def close(self, *args: Any, **options: Any) -> Any:
        """Say goodbye. RabbitMQ does not listen to one that it blocks, which takes back what it has not read."""
        if not self.blocked:
            return super().close(*args, **options)
        if self.connected:
            with suppress(OSError):
                self.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.collect()
        return None


class Transport(pyamqp.Transport):
    """For `amqp://`."""

    Connection = Connection
    implements = pyamqp.Transport.implements.extend(batch_publish=True)


class SSLTransport(pyamqp.SSLTransport):
    """For `amqps://`."""

    Connection = Connection
    implements = Transport.implements


def alias_of(url: str) -> str:
    """The `broker_transport` of a URL, or of a list of them with semicolons between."""
    return "gateway-amqps" if url.lower().startswith("amqps:") else "gateway-amqp"


def _next_of(urls: Sequence[str]) -> Iterator[str]:
    """One after the other, each with a transport from here."""
    return cycle([f"{alias_of(url)}://{url.partition('://')[2]}" for url in urls])


#: The `broker_failover_strategy`. By name: a worker tells its settings to who asks for them, as JSON.
NEXT = "gateway-next"
failover_strategies[NEXT] = _next_of
