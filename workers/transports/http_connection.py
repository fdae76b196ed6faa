"""aiohttp's connector, request and protocol, made to tell when a byte went out and what came in unasked.

aiohttp's own session is left out: with it go cookies, redirects, proxies from the environment and, above all, its
silent second sending of an idempotent request whose kept-alive connection turned out closed. Only one layer of the
gateway retries, and this is not it.
"""

import asyncio
import select
from collections.abc import Iterable
from functools import partial
from time import monotonic
from typing import Any, cast

from aiohttp import ClientRequest, ClientResponse, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractStreamWriter, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDict

from gateway.address_guard import AddressGuard
from workers.transports.base import Wire

__all__ = ["Connector", "Handler", "Request"]


class Handler(ResponseHandler):
    """The protocol of one connection.

    Attributes:
        received: bytes that came in so far.
        received_at_release: what that was when the connection was given back to the pool. More means that the service
            sent something nobody asked for, such as the rest of a body that was longer than it said: the connection
            is out of step and must not carry another call.
        wire: takes the mark of the first byte of the answer that is awaited.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.received = 0
        self.received_at_release = 0
        self.wire: Wire | None = None

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.wire is not None and data:
            self.wire.first_byte = monotonic()
            self.wire = None
        super().data_received(data)
        # aiohttp tells only the head's reader that the framing is broken; who reads the body would wait for ever.
        error, payload = self._exception, self._payload
        if error is not None and payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(error)

    def can_carry_another(self) -> bool:
        """Whether an idle connection is still open, as far as this host knows, and in step.

        The socket is asked too: while the loop was busy, the end of the connection may wait there unread.
        """
        transport = self.transport
        if transport is None or self.should_close or self.received != self.received_at_release:
            return False
        arrivals = select.poll()
        arrivals.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not arrivals.poll(0)


class Request(ClientRequest):
    """A request whose headers are complete, and which marks when it may have been sent.

    Attributes:
        wire: set before it is sent.
    """

    wire: Wire
    # aiohttp adds a content type to a POST without a body unless it is told not to.
    _skip_auto_headers = CIMultiDict[None]({"content-type": None})

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """None are added: the endpoint sets what is needed."""

    async def send(self, conn: Connection) -> ClientResponse:
        protocol = conn.protocol
        if self._body is None and protocol is not None and not protocol.writing_paused:
            self._mark_sent(conn)
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        # aiohttp keeps the headers back until there is a body to go with them, and writes both here, in a task.
        self._mark_sent(conn)
        await super().write_bytes(writer, conn, content_length)

    def _mark_sent(self, conn: Connection) -> None:
        # Nothing is handed to a socket that is closed already: that call is provably not sent.
        transport = conn.transport
        if transport is not None and not transport.is_closing():
            self.wire.sent = monotonic()


class Connector(TCPConnector):
    """Connections to one service. It has no limit of its own: `HttpPool` holds the permits.

    Args:
        keepalive_s: seconds that an idle connection is kept.
        guard: says which addresses may be connected to.
    """

    def __init__(self, *, keepalive_s: float, guard: AddressGuard) -> None:
        super().__init__(limit=0, keepalive_timeout=keepalive_s)
        self._guard = guard
        self._trust: Any = True
        self._factory = cast("partial[ResponseHandler]", partial(Handler, loop=self._loop))

    @property
    def idle(self) -> int:
        """Connections that are open and carry nothing."""
        return sum(len(waiting) for waiting in self._conns.values())

    def keep_only(self, trust: Any) -> None:
        """Close the idle connections that were made with another TLS context, and the busy ones once they are idle."""
        if trust is self._trust:
            return
        self._trust = trust
        for key in [key for key in self._conns if key.ssl is not trust]:
            for handler, _ in self._conns.pop(key):
                handler.close()

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> list[ResolveResult]:
        """The addresses that the socket gets, and no others: a name is not looked up again after this.

        Raises:
            ForbiddenAddressError: none of them may be connected to.
        """
        found = await super()._resolve_host(host, port, traces)
        permitted = set(self._guard.permitted(host, [result["host"] for result in found]))
        return [result for result in found if result["host"] in permitted]

    async def _create_connection(
        self, req: ClientRequest, traces: list[Any], timeout: ClientTimeout
    ) -> ResponseHandler:
        assert isinstance(req, Request)  # noqa: S101 - the pool makes no other
        req.wire.connect_started = monotonic()
        handler = await super()._create_connection(req, traces, timeout)
        req.wire.connected = monotonic()
        return handler

    async def _get(self, key: Any, traces: list[Any]) -> Connection | None:
        while (connection := await super()._get(key, traces)) is not None:
            handler = connection.protocol
            if isinstance(handler, Handler) and handler.can_carry_another():
                return connection
            connection.close()
        return None

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if isinstance(protocol, Handler):
            protocol.received_at_release = protocol.received
            protocol.wire = None
        super()._release(key, protocol, should_close=should_close or key.ssl is not self._trust)
