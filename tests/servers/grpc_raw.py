"""Raw HTTP/2 for what no real gRPC server does: resets, GOAWAY, half replies, garbage."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from tests.servers.authority import shown_by

#: What a raw server does once a request arrived: `(connection, stream id)`.
Behaviour = Callable[["RawConnection", int], Awaitable[None]]


class RawConnection:
    """One HTTP/2 connection of the raw server (RFC 9113), with the frames written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.payload = b""
        self._initial_window = 65_535
        self._windows: dict[int, int] = {0: 65_535}
        self._wider = asyncio.Event()

    def frame(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Write one frame (RFC 9113, section 4.1)."""
        self.writer.write(
            struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload
        )

    def headers(self, stream: int, fields: dict[str, str], *, end: bool = False) -> None:
        """Write HEADERS, each field as a literal without indexing (RFC 7541, section 6.2.2)."""
        block = b""
        for name, value in fields.items():
            if len(name) > 126 or len(value) > 126:
                raise ValueError("the test's encoder writes short literals only")
            block += bytes((0, len(name))) + name.encode() + bytes((len(value),)) + value.encode()
        self.frame(1, 0x4 | (0x1 if end else 0), stream, block)

    def begin_reply(self, stream: int) -> None:
        """Write what a gRPC reply begins with."""
        self.headers(stream, {":status": "200", "content-type": "application/grpc"})

    def data(self, stream: int, message: bytes) -> None:
        """Write one gRPC message."""
        self.frame(0, 0, stream, b"\0" + struct.pack(">I", len(message)) + message)

    async def body(self, stream: int, payload: bytes) -> None:
        """Write DATA as fast as the peer's windows allow (RFC 9113, section 6.9)."""
        sent = 0
        while sent < len(payload):
            room = min(self._windows[0], self._initial_window + self._windows.get(stream, 0), 16_384)
            if room <= 0:
                self._wider.clear()
                await self._wider.wait()
                continue
            part = payload[sent : sent + room]
            self.frame(0, 0, stream, part)
            sent += len(part)
            for each in (0, stream):
                self._windows[each] = self._windows.get(each, 0) - len(part)
            await self.writer.drain()

    async def read_frame(self) -> tuple[int, int, int]:
        """Read one frame, and do what the connection itself needs for it; returns kind, flags and stream."""
        head = await self.reader.readexactly(9)
        kind, flags, stream = head[3], head[4], struct.unpack(">I", head[5:])[0]
        self.payload = payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        if kind == 4 and not flags & 1:
            for name, value in struct.iter_unpack(">HI", payload):
                self._initial_window = value if name == 4 else self._initial_window
            self.frame(4, 1, 0)
        elif kind == 6 and not flags & 1:
            self.frame(6, 1, 0, payload)
        elif kind == 8:
            self._windows[stream] = self._windows.get(stream, 0) + struct.unpack(">I", payload)[0]
        self._wider.set()
        return kind, flags, stream

    def trailers(self, stream: int, status: int, message: str = "") -> None:
        """Write the end of a gRPC reply."""
        self.headers(stream, {"grpc-status": str(status), "grpc-message": message}, end=True)

    def reset_stream(self, stream: int, code: int) -> None:
        """Write RST_STREAM (RFC 9113, section 6.4)."""
        self.frame(3, 0, stream, struct.pack(">I", code))

    def go_away(self, last: int, code: int = 0) -> None:
        """Write GOAWAY (RFC 9113, section 6.8)."""
        self.frame(7, 0, 0, struct.pack(">II", last, code))

    def reset_tcp(self) -> None:
        """Close with a TCP reset."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class RawServer:
    """A server that speaks just enough HTTP/2 to misbehave in it.

    Attributes:
        behave: what it does with a request that arrived completely, until the caller gives it up.
        on_accept: what it does with a connection instead of reading from it.
        on_head: what it does when it has read the head of a request, before it reads on.
        connections: how many were accepted.
        peers: serial number of each certificate that was shown, in the order of the connections; None: none.
        heads: how many requests began to arrive, without the probes.
        probes: how many of those that ask why a channel cannot connect found that it can again.
        requests: how many requests arrived completely.

    Args:
        greet: whether it sends the SETTINGS that a connection begins with.
        listener: the socket that it listens on; None: a free loopback port.
        tls: how it speaks TLS; None: not at all.
    """

    def __init__(
        self,
        behave: Behaviour,
        *,
        greet: bool = True,
        on_accept: Behaviour | None = None,
        on_head: Behaviour | None = None,
        listener: socket.socket | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.behave = behave
        self.on_accept = on_accept
        self.on_head = on_head
        self._greet = greet
        self._listener = listener
        self._tls = tls
        self.peers: list[str | None] = []
        self.connections = 0
        self.heads = 0
        self.probes = 0
        self.requests = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        if self._listener is None:
            self._listener = socket.socket()
            self._listener.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._accept, sock=self._listener, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.peers.append(shown_by(writer))
        task = asyncio.ensure_future(self._serve(RawConnection(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: RawConnection) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                if self.on_accept is not None:
                    await self.on_accept(connection, 0)
                    return
                await connection.reader.readexactly(24)  # the client's preface, RFC 9113, section 3.4
                if self._greet:
                    connection.frame(4, 0, 0)
                await self._read_frames(connection)
        finally:
            connection.writer.transport.abort()

    async def _read_frames(self, connection: RawConnection) -> None:
        running: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                kind, flags, stream = await connection.read_frame()
                if kind == 1:
                    # The C core writes header values as they are; see `_PROBE` in `rpc_link`.
                    probe = b"/grpc.health.v1.Health/Check" in connection.payload
                    self.probes += probe
                    self.heads += not probe
                    if self.on_head is not None:
                        await self.on_head(connection, stream)
                if kind in (0, 1) and flags & 1:
                    self.requests += 1
                    running[stream] = asyncio.ensure_future(self._answer(connection, stream))
                if kind == 3 and stream in running:
                    running[stream].cancel()
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)

    async def _answer(self, connection: RawConnection, stream: int) -> None:
        with contextlib.suppress(ConnectionError):
            await self.behave(connection, stream)
