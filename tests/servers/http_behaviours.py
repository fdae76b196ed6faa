"""What a misbehaving HTTP service does with a request: one function for each fault, named as its path is."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.servers.compressed import PACK, compressed_zeros

__all__ = ["BEHAVIOURS", "Arrival", "Connection", "End", "ok", "reply"]

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
class Connection:
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


class End(Exception):
    """The connection is done with."""


Behaviour = Callable[[Connection, Arrival], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {}


def _behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__] = function
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
async def ok(connection: Connection, arrival: Arrival) -> None:
    connection.send(reply(GOOD))


@_behaviour
async def status(connection: Connection, arrival: Arrival) -> None:
    """`/status/503?header=value` answers that, with `{"said": "no"}`."""
    path, _, query = arrival.target.partition("?")
    headers = [pair.replace("=", ": ", 1) for pair in query.split("&") if pair]
    connection.send(reply(b'{"said": "no"}', *headers, status=f"{path.split('/')[2]} Whatever"))


@_behaviour
async def bodiless(connection: Connection, arrival: Arrival) -> None:
    """`/bodiless/204`: the head alone, with the length that a body would have had."""
    length = "" if "204" in arrival.target else "content-length: 22\r\n"
    head = f"HTTP/1.1 {arrival.target.split('/')[2]} Whatever\r\ncontent-type: application/json\r\n{length}\r\n"
    connection.send(head.encode())


@_behaviour
async def large_error(connection: Connection, arrival: Arrival) -> None:
    connection.send(reply("é".encode() * 100_000, status="500 Oops", content_type="text/plain"))


@_behaviour
async def hang_after_reading(connection: Connection, arrival: Arrival) -> None:
    await asyncio.Event().wait()


@_behaviour
async def hang_in_body(connection: Connection, arrival: Arrival) -> None:
    connection.send(reply(b"x" * 100)[:-50])
    await asyncio.Event().wait()


@_behaviour
async def hang_in_error_body(connection: Connection, arrival: Arrival) -> None:
    connection.send(reply(b"x" * 100, status="503 Busy", content_type="text/plain")[:-50])
    await asyncio.Event().wait()


@_behaviour
async def drip(connection: Connection, arrival: Arrival) -> None:
    for byte in reply(GOOD):
        connection.send(bytes([byte]))
        await connection.writer.drain()
        await asyncio.sleep(0.05)


@_behaviour
async def reset_after_reading(connection: Connection, arrival: Arrival) -> None:
    connection.reset()
    raise End


@_behaviour
async def eof_after_reading(connection: Connection, arrival: Arrival) -> None:
    raise End


@_behaviour
async def eof_in_head(connection: Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-le")
    raise End


@_behaviour
async def truncated_body(connection: Connection, arrival: Arrival) -> None:
    connection.send(reply(GOOD)[:-3])
    raise End


@_behaviour
async def truncated_message(connection: Connection, arrival: Arrival) -> None:
    """The JSON breaks off and the reply ends as it should."""
    connection.send(reply(GOOD[:-3]))


@_behaviour
async def truncated_chunked(connection: Connection, arrival: Arrival) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    connection.send(head + b"%x\r\n%s\r\n" % (len(GOOD), GOOD))
    raise End


@_behaviour
async def garbage_chunk(connection: Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    await connection.writer.drain()
    await asyncio.sleep(0.02)
    connection.send(b"2\r\n{}\r\nzz\r\n")
    await asyncio.Event().wait()


@_behaviour
async def reset_in_endless_body(connection: Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + GOOD)
    await connection.writer.drain()
    await asyncio.sleep(0.05)  # a reset overtakes what is not read yet
    connection.reset()
    raise End


@_behaviour
async def garbage(connection: Connection, arrival: Arrival) -> None:
    connection.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    raise End


@_behaviour
async def huge_headers(connection: Connection, arrival: Arrival) -> None:
    connection.send(reply(GOOD, "x-huge: " + "x" * 100_000))


@_behaviour
async def huge_body(connection: Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
    while True:
        connection.send(b"x" * _MIB)
        await connection.writer.drain()


@_behaviour
async def huge_announced(connection: Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 99999999999\r\n\r\nx")


@_behaviour
async def wrong_type(connection: Connection, arrival: Arrival) -> None:
    connection.send(reply(b"<html>Please log in</html>"))


@_behaviour
async def html(connection: Connection, arrival: Arrival) -> None:
    connection.send(reply(b"<html>Please log in</html>", content_type="text/html"))


@_behaviour
async def invalid_json(connection: Connection, arrival: Arrival) -> None:
    connection.send(reply(b'{"data": {"ok": NaN}}'))


@_behaviour
async def invalid_utf8(connection: Connection, arrival: Arrival) -> None:
    connection.send(reply(b'{"data": {"ok": "\xff"}}'))


@_behaviour
async def switching(connection: Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello")


@_behaviour
async def hundred_continue(connection: Connection, arrival: Arrival) -> None:
    connection.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + reply(GOOD))


@_behaviour
async def leftover(connection: Connection, arrival: Arrival) -> None:
    """A second reply comes with the first; whoever reuses the connection reads it for the next request."""
    connection.send(reply(GOOD) + reply(b'{"data": {"stolen": true}}'))


@_behaviour
async def leftover_after_head(connection: Connection, arrival: Arrival) -> None:
    """As `leftover`, in the packet of the body."""
    good = reply(GOOD)
    connection.send(good[:-10])
    await connection.writer.drain()
    await asyncio.sleep(0.02)
    connection.send(good[-10:] + reply(b'{"data": {"stolen": true}}'))


@_behaviour
async def leftover_later(connection: Connection, arrival: Arrival) -> None:
    """As `leftover`, when the connection is idle already, and only the beginning of it."""
    connection.send(reply(GOOD))
    await connection.writer.drain()
    await asyncio.sleep(0.02)
    connection.send(b"HTTP/1.1 2")


@_behaviour
async def close_after(connection: Connection, arrival: Arrival) -> None:
    """Says that it keeps the connection, and closes it."""
    connection.send(reply(GOOD))
    raise End


@_behaviour
async def close_on_reuse(connection: Connection, arrival: Arrival) -> None:
    """Answers the first request of a connection and closes it when the second has arrived."""
    if connection.requests > 1:
        raise End
    connection.send(reply(GOOD))


@_behaviour
async def coded(connection: Connection, arrival: Arrival) -> None:
    """`/coded/gzip/whole`; also `truncated`, `trailing` and `bomb` (64 MiB of zeros)."""
    coding, how = arrival.target.split("/")[2:4]
    body = compressed_zeros(coding, 64) if how == "bomb" else PACK[coding](GOOD)
    body = {"truncated": body[:-3], "trailing": body + b"junk"}.get(how, body)
    connection.send(reply(body, f"content-encoding: {coding}"))


@_behaviour
async def gibibyte(connection: Connection, arrival: Arrival) -> None:
    """A gibibyte of zeros in a megabyte of gzip."""
    connection.send(reply(compressed_zeros("gzip", 1024), "content-encoding: gzip"))
