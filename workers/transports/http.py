"""`HttpPool`: an httpx transport over aiohttp's connections (HTTP/1.1), with bounded waiting and an exact error table.

httpx's own pool looks at every connection and every waiting request for each call, and collapses with hundreds in
flight. This one hands out permits; a call that holds one takes an idle connection or makes one.
"""

import asyncio
from io import BytesIO
from time import monotonic
from typing import Any

import httpx
from aiohttp import ClientResponse, ClientTimeout
from aiohttp.connector import Connection
from yarl import URL

from gateway.address_guard import AddressGuard
from gateway.network import Network
from gateway.policy import Connections
from workers.transports.base import Usage, Wire
from workers.transports.http_connection import Connector, Handler, Request
from workers.transports.http_errors import connect_error, exchange_error
from workers.transports.permits import Permits
from workers.transports.tls import Certificates

__all__ = ["HttpPool"]

#: Bytes from which aiohttp wants to write a body piece by piece, and warns if it may not.
_LARGE = 1024 * 1024
_PUBLIC = AddressGuard(Network())


class HttpPool(httpx.AsyncBaseTransport):
    """A service's HTTP connections in one process, on the loop that sends the first request.

    It reads these extensions of a request:
        `wire`: the `Wire` that takes the marks;
        `timeout`: seconds for `pool`, `connect` and `read`, as httpx writes them; None or no entry: unbounded;
        `target`: path and query as they go on the wire, instead of the URL's.

    A response holds its permit until it is closed. One that is closed before its end closes its connection.

    Args:
        name: for people, `"user-service/rest"`.
        connections: how many connections, and how long an idle one is kept.
        guard: says which addresses may be connected to; by default none of a name that is not public.
        certificates: for `https`; None verifies against the system's authorities.

    Raises (from `handle_async_request`):
        httpx.PoolTimeout, httpx.ConnectTimeout, httpx.ConnectError: nothing was sent. `ForbiddenHostError` is one.
        httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError: see `Wire.sent`; from a response's stream: the
            service has answered.
        httpx.LocalProtocolError: the request itself cannot be written.
    """

    def __init__(
        self,
        name: str,
        connections: Connections,
        *,
        guard: AddressGuard = _PUBLIC,
        certificates: Certificates | None = None,
    ) -> None:
        self.name = name
        self._guard = guard
        self._connections = connections
        self._certificates = certificates
        self._permits = Permits(connections.max)
        self._streams: set[_ReplyStream] = set()
        self._connector: Connector | None = None
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        extensions = request.extensions
        wire: Wire = extensions.get("wire") or Wire()
        timeouts = extensions.get("timeout") or {}
        try:
            await self._permits.take(timeouts.get("pool"))
        except TimeoutError:
            raise httpx.PoolTimeout(f"no free connection within timeouts.pool: {self!r}") from None
        wire.pool_acquired = monotonic()
        try:
            stream = await self._exchange(request, wire, timeouts)
        except BaseException:
            self._permits.give_back()
            raise
        self._streams.add(stream)
        reply = stream.reply
        return httpx.Response(reply.status, headers=reply.raw_headers, stream=stream, request=request)

    async def _exchange(self, request: httpx.Request, wire: Wire, timeouts: dict[str, Any]) -> "_ReplyStream":
        content = await request.aread()
        try:
            outgoing = self._outgoing(request, content)
        except ValueError as error:
            raise httpx.LocalProtocolError(f"the request cannot be written: {error}") from error
        outgoing.wire = wire
        connection = await self._connect(outgoing, timeouts.get("connect"))
        try:
            handler = connection.protocol
            assert isinstance(handler, Handler)  # noqa: S101 - the connector makes no other
            handler.wire = wire
            handler.set_response_params(
                skip_payload=request.method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                read_timeout=timeouts.get("read"),
            )
            try:
                reply = await outgoing.send(connection)
            except ValueError as error:
                wire.sent = None  # a header that cannot be written is found before the first byte is
                raise httpx.LocalProtocolError(f"the request cannot be written: {error}") from error
            try:
                await reply.start(connection)
            except BaseException:
                reply.close()
                raise
        except BaseException as error:
            connection.close()
            if isinstance(error, httpx.TransportError) or not isinstance(error, Exception):
                raise
            raise exchange_error(error) from error
        return _ReplyStream(self, reply, handler)

    async def _connect(self, outgoing: Request, bound_s: float | None) -> Connection:
        # Without a limit of the connector's own, `connect` is name resolution, TCP and TLS, and no wait for a slot.
        bound = ClientTimeout(total=None, connect=bound_s, ceil_threshold=float("inf"))
        try:
            connector = self._open_connector()
            connector.keep_only(outgoing.ssl)
            return await connector.connect(outgoing, [], bound)
        except Exception as error:
            raise connect_error(error) from error

    def _open_connector(self) -> Connector:
        if self._closed:
            raise httpx.ConnectError(f"the pool of {self.name} is closed")
        if self._connector is None:
            self._connector = Connector(keepalive_s=self._connections.keepalive, guard=self._guard)
        return self._connector

    def _outgoing(self, request: httpx.Request, content: bytes) -> Request:
        url, certificates = request.url, self._certificates
        target = request.extensions.get("target") or url.raw_path
        return Request(
            request.method,
            URL(f"{url.scheme}://{url.netloc.decode('ascii')}{target.decode('ascii')}", encoded=True),
            headers=[
                (name.decode("ascii"), value.decode("utf-8"))
                for name, value in request.headers.raw
                if name.lower() != b"transfer-encoding"  # the body is complete: it goes with its length
            ],
            data=BytesIO(content) if len(content) > _LARGE else content or None,
            loop=asyncio.get_running_loop(),
            ssl=True if certificates is None else certificates.current().context,
            server_hostname=None if certificates is None else certificates.server_name,
        )

    def _forget(self, stream: "_ReplyStream") -> None:
        self._streams.discard(stream)
        self._permits.give_back()

    async def aclose(self) -> None:
        """Close every connection; calls in flight fail, and so do those that come later."""
        self._closed = True
        for stream in tuple(self._streams):
            stream.reply.close()
        if self._connector is not None:
            await self._connector.close()

    @property
    def usage(self) -> Usage:
        """See `Transport.usage`."""
        idle = 0 if self._connector is None else self._connector.idle
        return Usage(connections=idle + self._permits.busy, busy=self._permits.busy, waiting=self._permits.waiting)

    def __repr__(self) -> str:
        idle = 0 if self._connector is None else self._connector.idle
        state = ", closed" if self._closed else ""
        return f"<HttpPool {self.name} {self._permits.busy} busy, {idle} idle, {self._permits.waiting} waiting{state}>"


class _ReplyStream(httpx.AsyncByteStream):
    """The body of a response as it arrives, not decoded; holds the permit."""

    def __init__(self, pool: HttpPool, reply: ClientResponse, handler: Handler) -> None:
        self.reply = reply
        self._pool: HttpPool | None = pool
        self._handler = handler

    def __aiter__(self) -> "_ReplyStream":
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self.reply.content.readany()
            if not chunk:
                self._check_end()
        except Exception as error:
            raise exchange_error(error, in_body=True) from error
        if chunk:
            return chunk
        raise StopAsyncIteration

    def _check_end(self) -> None:
        """A body without a length ends with the connection, and aiohttp takes a reset for such an end."""
        headers = self.reply.headers
        if "content-length" not in headers and "transfer-encoding" not in headers:
            lost = self._handler.exception()
            if isinstance(lost, OSError):
                raise lost

    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            if not self.reply.closed:
                self.reply.close()
            pool._forget(self)
