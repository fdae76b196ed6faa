"""An HTTP service that misbehaves: raw asyncio on a free loopback port, one behaviour for each path.

`/name` misbehaves as the function of `http_behaviours` whose name is `name`, with `-` for `_`; `misbehave` is for every
path. What a service does before it has read anything is asked for with `on_accept`.
"""

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from tests.servers.authority import server_context, shown_by
from tests.servers.http_behaviours import BEHAVIOURS, Arrival, Connection, End, ok, reply

__all__ = ["HttpFaults"]

_MIB = 1024 * 1024


@dataclass
class HttpFaults:
    """The service; `async with` runs it.

    Attributes:
        on_accept: what it does with a connection before reading from it.
        tls: whether it speaks TLS, as localhost, or how.
        peers: serial number of each certificate that was shown, in the order of the connections; None: none.
        misbehave: what it does with every request, whatever the path says; None: what the path says.
        listener: the socket that it listens on; None: a free loopback port.
        heads: how many requests it has begun to read.
        arrivals: what it has read, in order.
        connections: how many it has accepted.
        say: status, content type and body of `/say`.
        finished: requests with which it is done, and which it answered.
    """

    on_accept: Literal["read", "hang", "reset"] = "read"
    tls: bool | ssl.SSLContext = False
    misbehave: str | None = None
    listener: socket.socket | None = None
    heads: int = 0
    arrivals: list[Arrival] = field(default_factory=list)
    connections: int = 0
    peers: list[str | None] = field(default_factory=list)
    finished: int = 0
    say: tuple[int, str, bytes] = (200, "application/json", b"{}")
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        context = server_context() if self.tls is True else self.tls or None
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
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def count(self, request_id: str) -> int:
        """How often a request arrived."""
        return sum(arrival.request_id == request_id for arrival in self.arrivals)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.peers.append(shown_by(writer))
        connection = Connection(self.connections, reader, writer)
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
                    await BEHAVIOURS.get(name, ok)(connection, asked)
                await writer.drain()
                self.finished += 1
        except (End, asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(Exception):
                writer.close()

    def _asked(self, target: str) -> str:
        """The path that says what to do."""
        return target if self.misbehave is None else f"/{self.misbehave}"

    async def _read(self, connection: Connection) -> Arrival:
        head = (await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.strip().split("\r\n")
        method, target, _ = request.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.heads += 1
        if self._asked(target).startswith("/reset-while-sending"):
            connection.reset()
            raise End
        body = await connection.reader.readexactly(int(headers.get("content-length", "0")))
        return Arrival(method, target, headers, body, connection.number)
