"""An HTTP service that misbehaves: raw asyncio on a free loopback port, one behaviour for each path.

`/name` misbehaves as the function below whose name is `name`, with `-` for `_`; `misbehave` is for every path. What a
service does before it has read anything is asked for with `on_accept`.
"""

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import brotli
from backports import zstd

from tests.servers.authority import server_context

__all__ = ["Arrival", "HttpFaults", "compressed_zeros"]

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Arrival:
    """A request that was read."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")


@dataclass
class _Connection:
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: int = 0

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        """End it with a RST instead of a FIN."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class _End(Exception):
    """The connection is done with."""


@dataclass
class HttpFaults:
    """The service; `async with` runs it.

    Attributes:
        on_accept: what it does with a connection before reading from it.
        tls: whether it speaks TLS, as localhost.
        misbehave: what it does with every request, whatever the path says; None: what the path says.
        listener: the socket that it listens on; None: a free loopback port.
        heads: how many requests it has begun to read.
        arrivals: what it has read, in order.
        connections: how many it has accepted.
        say: status, content type and body of `/say`.
        finished: requests with which it is done, and which it answered.
    """

    on_accept: Literal["read", "hang", "reset"] = "read"
    tls: bool = False
    misbehave: str | None = None
    listener: socket.socket | None = None
    heads: int = 0
    arrivals: list[Arrival] = field(default_factory=list)
    connections: int = 0
    finished: int = 0
    say: tuple[int, str, bytes] = (200, "application/json", b"{}")
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        context = server_context() if self.tls else None
        listener = self.listener
        if listener is None:
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(
            self._accept, sock=listener, ssl=context, limit=4 * _MIB, backlog=1000
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http{'s' * self.tls}://127.0.0.1:{self.port}"

    def count(self, request_id: str) -> int:
        """How often a request arrived."""
        return sum(arrival.request_id == request_id for arrival in self.arrivals)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        connection = _Connection(self.connections, reader, writer)
        try:
            if self.on_accept == "hang":
                await asyncio.Event().wait()
            if self.on_accept == "reset":
                connection.reset()
                return
            while True:
                arrival = await self._read(connection)
                self.arrivals.append(arrival)
                connection.requests += 1
                asked = replace(arrival, target=self._asked(arrival.target))
                name = asked.target.partition("?")[0].split("/")[1].replace("-", "_")
                if name == "say":
                    said, content_type, body = self.say
                    connection.send(reply(body, status=f"{said} Said", content_type=content_type))
                else:
                    await _BEHAVIOURS.get(name, ok)(connection, asked)
                await writer.drain()
                self.finished += 1
        except (_End, asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(Exception):
                writer.close()

    def _asked(self, target: str) -> str:
        """The path that says what to do."""
        return target if self.misbehave is None else f"/{self.misbehave}"

    async def _read(self, connection: _Connection) -> Arrival:
        head = (await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.strip().split("\r\n")
        method, target, _ = request.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.heads += 1
        if self._asked(target).startswith("/reset-while-sending"):
            connection.reset()
            raise _End
        body = await connection.reader.readexactly(int(headers.get("content-length", "0")))
        return Arrival(method, target, headers, body, connection.number)


_Behaviour = Callable[[_Connection, Arrival], Awaitable[None]]
_BEHAVIOURS: dict[str, _Behaviour] = {}


def _behaviour(function: _Behaviour) -> _Behaviour:
    _BEHAVIOURS[function.__name__] = function
    return function


def reply(body: bytes, *more: str, status: str = "200 OK", content_type: str | None = "application/json") -> bytes:
    """A well-formed reply."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *more]
    if content_type is not None:
        lines.append(f"content-type: {content_type}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


#: What both REST and GraphQL take for an answer.
GOOD = b'{"data": {"ok": true}}'


@_behaviour
async def ok(connection: _Connection, arrival: Arrival) -> None:
    connection.send(reply(GOOD))


@_behaviour
async def status(connection: _Connection, arrival: Arrival) -> None:
    """`/status/503?header=value` answers that, with `{"said": "no"}`."""
    path, _, query = arrival.target.partition("?")
    headers = [pair.replace("=", ": ", 1) for pair in query.split("&") if pair]
    connection.send(reply(b'{"said": "no"}', *headers, status=f"{path.split('/')[2]} Whatever"))


@_behaviour
async def bodiless(connection: _Connection, arrival: Arrival) -> None:
    """`/bodiless/204`: the head alone, with the length that a body would have had."""
    length = "" if "204" in arrival.target else "content-length: 22\r\n"
    head = f"HTTP/1.1 {arrival.target.split('/')[2]} Whatever\r\ncontent-type: application/json\r\n{length}\r\n"
    connection.send(head.encode())


@_behaviour
async def large_error(connection: _Connection, arrival: Arrival) -> None:
    connection.send(reply("é".encode() * 100_000, status="500 Oops", content_type="text/plain"))


@_behaviour
async def hang_after_reading(connection: _Connection, arrival: Arrival) -> None:
    await asyncio.Event().wait()


@_behaviour
async def hang_in_body(connection: _Connection, arrival: Arrival) -> None:
    connection.send(reply(b"x" * 100)[:-50])
    await asyncio.Event().wait()


@_behaviour
async def hang_in_error_body(connection: _Connection, arrival: Arrival) -> None:
    connection.send(reply(b"x" * 100, status="503 Busy", content_type="text/plain")[:-50])
    await asyncio.Event().wait()


@_behaviour
async def drip(connection: _Connection, arrival: Arrival) -> None:
    for byte in reply(GOOD):
        connection.send(bytes([byte]))
        await connection.writer.drain()
        await asyncio.sleep(0.05)


@_behaviour
async def reset_after_reading(connection: _Connection, arrival: Arrival) -> None:
    connection.reset()
    raise _End


@_behaviour
async def eof_after_reading(connection: _Connection, arrival: Arrival) -> None:
    raise _End


@_behaviour
async def eof_in_head(connection: _Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-le")
    raise _End


@_behaviour
async def truncated_body(connection: _Connection, arrival: Arrival) -> None:
    connection.send(reply(GOOD)[:-3])
    raise _End


@_behaviour
async def truncated_message(connection: _Connection, arrival: Arrival) -> None:
    """The JSON breaks off and the reply ends as it should."""
    connection.send(reply(GOOD[:-3]))


@_behaviour
async def truncated_chunked(connection: _Connection, arrival: Arrival) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    connection.send(head + b"%x\r\n%s\r\n" % (len(GOOD), GOOD))
    raise _End


@_behaviour
async def garbage_chunk(connection: _Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    await connection.writer.drain()
    await asyncio.sleep(0.02)
    connection.send(b"2\r\n{}\r\nzz\r\n")
    await asyncio.Event().wait()


@_behaviour
async def reset_in_endless_body(connection: _Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + GOOD)
    await connection.writer.drain()
    await asyncio.sleep(0.05)  # a reset overtakes what is not read yet
    connection.reset()
    raise _End


@_behaviour
async def garbage(connection: _Connection, arrival: Arrival) -> None:
    connection.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    raise _End


@_behaviour
async def huge_headers(connection: _Connection, arrival: Arrival) -> None:
    connection.send(reply(GOOD, "x-huge: " + "x" * 100_000))


@_behaviour
async def huge_body(connection: _Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
    while True:
        connection.send(b"x" * _MIB)
        await connection.writer.drain()


@_behaviour
async def huge_announced(connection: _Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 99999999999\r\n\r\nx")


@_behaviour
async def wrong_type(connection: _Connection, arrival: Arrival) -> None:
    connection.send(reply(b"<html>Please log in</html>"))


@_behaviour
async def html(connection: _Connection, arrival: Arrival) -> None:
    connection.send(reply(b"<html>Please log in</html>", content_type="text/html"))


@_behaviour
async def invalid_json(connection: _Connection, arrival: Arrival) -> None:
    connection.send(reply(b'{"data": {"ok": NaN}}'))


@_behaviour
async def invalid_utf8(connection: _Connection, arrival: Arrival) -> None:
    connection.send(reply(b'{"data": {"ok": "\xff"}}'))


@_behaviour
async def switching(connection: _Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello")


@_behaviour
async def hundred_continue(connection: _Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + reply(GOOD))


@_behaviour
async def leftover(connection: _Connection, arrival: Arrival) -> None:
    """A second reply comes with the first; whoever reuses the connection reads it for the next request."""
    connection.send(reply(GOOD) + reply(b'{"data": {"stolen": true}}'))


@_behaviour
async def leftover_after_head(connection: _Connection, arrival: Arrival) -> None:
    """As `leftover`, in the packet of the body."""
    good = reply(GOOD)
    connection.send(good[:-10])
    await connection.writer.drain()
    await asyncio.sleep(0.02)
    connection.send(good[-10:] + reply(b'{"data": {"stolen": true}}'))


@_behaviour
async def leftover_later(connection: _Connection, arrival: Arrival) -> None:
    """As `leftover`, when the connection is idle already, and only the beginning of it."""
    connection.send(reply(GOOD))
    await connection.writer.drain()
    await asyncio.sleep(0.02)
    connection.send(b"HTTP/1.1 2")


@_behaviour
async def close_after(connection: _Connection, arrival: Arrival) -> None:
    """Says that it keeps the connection, and closes it."""
    connection.send(reply(GOOD))
    raise _End


@_behaviour
async def close_on_reuse(connection: _Connection, arrival: Arrival) -> None:
    """Answers the first request of a connection and closes it when the second has arrived."""
    if connection.requests > 1:
        raise _End
    connection.send(reply(GOOD))


@_behaviour
async def coded(connection: _Connection, arrival: Arrival) -> None:
    """`/coded/gzip/whole`; also `truncated`, `trailing` and `bomb` (64 MiB of zeros)."""
    coding, how = arrival.target.split("/")[2:4]
    body = compressed_zeros(coding, 64) if how == "bomb" else _PACK[coding](GOOD)
    body = {"truncated": body[:-3], "trailing": body + b"junk"}.get(how, body)
    connection.send(reply(body, f"content-encoding: {coding}"))


@_behaviour
async def gibibyte(connection: _Connection, arrival: Arrival) -> None:
    """A gibibyte of zeros in a megabyte of gzip."""
    connection.send(reply(compressed_zeros("gzip", 1024), "content-encoding: gzip"))


_PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


def compressed_zeros(coding: str, mebibytes: int) -> bytes:
    """Zeros, packed without having them all in memory."""
    block = bytes(_MIB)
    if coding == "br":
        packer = brotli.Compressor(quality=1)
        return b"".join([packer.process(block) for _ in range(mebibytes)] + [packer.finish()])
    if coding == "zstd":
        frames = zstd.ZstdCompressor(level=1)
        return b"".join([frames.compress(block) for _ in range(mebibytes)] + [frames.flush()])
    deflate = zlib.compressobj(1, wbits=31 if coding == "gzip" else 15)
    return b"".join([deflate.compress(block) for _ in range(mebibytes)] + [deflate.flush()])
