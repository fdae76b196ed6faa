"""What a raw gRPC server does wrong, by name; it fits a unary method and a server stream alike."""

import asyncio
import struct
import zlib
from functools import lru_cache

from tests.servers.grpc_raw import Behaviour, RawConnection

__all__ = ["FAULTS", "drip_messages", "endless_messages", "good", "hang", "reset"]

_MIB = 1024 * 1024


async def good(connection: RawConnection, stream: int) -> None:
    """One user, and OK."""
    connection.begin_reply(stream)
    connection.data(stream, _user(b"Ada"))
    connection.trailers(stream, 0)


async def hang(connection: RawConnection, stream: int) -> None:
    """Do nothing for ever."""
    await asyncio.Event().wait()


async def reset(connection: RawConnection, stream: int) -> None:
    """End the connection with a TCP reset."""
    connection.reset_tcp()


async def _drip(connection: RawConnection, stream: int) -> None:
    """One message, a byte at a time."""
    connection.begin_reply(stream)
    for byte in _framed(_user(b"Ada")) * 10:
        connection.frame(0, 0, stream, bytes((byte,)))
        await connection.writer.drain()
        await asyncio.sleep(0.05)


async def drip_messages(connection: RawConnection, stream: int) -> None:
    """One whole message at a time, and no end."""
    connection.begin_reply(stream)
    while True:
        connection.data(stream, _user(b"Ada"))
        await connection.writer.drain()
        await asyncio.sleep(0.05)


async def _truncate(connection: RawConnection, stream: int) -> None:
    """The connection ends within the message."""
    connection.begin_reply(stream)
    connection.frame(0, 0, stream, _framed(_user(b"Ada"))[:-3])
    await connection.writer.drain()
    connection.writer.close()


async def _truncate_message(connection: RawConnection, stream: int) -> None:
    """The message ends too early and the reply ends as it should."""
    connection.begin_reply(stream)
    connection.frame(0, 0, stream, _framed(_user(b"Ada"))[:-3])
    connection.trailers(stream, 0)


async def _garbage(connection: RawConnection, stream: int) -> None:
    connection.writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n" * 4)
    await connection.writer.drain()


async def _nonsense(connection: RawConnection, stream: int) -> None:
    """A message that is none of the method's."""
    connection.begin_reply(stream)
    connection.data(stream, b"<html>Please log in</html>")
    connection.trailers(stream, 0)


async def _html(connection: RawConnection, stream: int) -> None:
    """A login page where a gRPC reply should be."""
    connection.headers(stream, {":status": "200", "content-type": "text/html"})
    connection.frame(0, 1, stream, b"<html>Please log in</html>")


async def _huge_message(connection: RawConnection, stream: int) -> None:
    """A message of a gibibyte, announced and sent."""
    connection.begin_reply(stream)
    await connection.body(stream, b"\0" + struct.pack(">I", 1024 * _MIB))
    for _ in range(1024):
        await connection.body(stream, bytes(_MIB))


async def endless_messages(connection: RawConnection, stream: int) -> None:
    """Messages of half a mebibyte, and no end."""
    connection.begin_reply(stream)
    message = _framed(_user(b"x" * (_MIB // 2)))
    while True:
        await connection.body(stream, message)


async def _bomb(connection: RawConnection, stream: int) -> None:
    """A small message that is 64 MiB when it is unpacked."""
    connection.headers(stream, {":status": "200", "content-type": "application/grpc", "grpc-encoding": "gzip"})
    packed = _packed_user(64)
    await connection.body(stream, b"\1" + struct.pack(">I", len(packed)) + packed)
    connection.trailers(stream, 0)


#: What it does with a request that arrived completely.
FAULTS: dict[str, Behaviour] = {
    "hang": hang,
    "drip": _drip,
    "reset": reset,
    "truncate": _truncate,
    "truncate-message": _truncate_message,
    "garbage": _garbage,
    "nonsense": _nonsense,
    "html": _html,
    "huge": _huge_message,
    "bomb": _bomb,
}


def _framed(message: bytes) -> bytes:
    """A message with its length before it, not compressed."""
    return b"\0" + struct.pack(">I", len(message)) + message


def _field(number: int, size: int) -> bytes:
    """What a length-delimited field of that size begins with."""
    head = bytearray((number << 3 | 2,))
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head)


def _user(name: bytes) -> bytes:
    """`GetUserResponse` and `UserUpdate` alike: `{"user": {"name": name}}`."""
    user = _field(2, len(name)) + name
    return _field(1, len(user)) + user


@lru_cache(1)
def _packed_user(mebibytes: int) -> bytes:
    """A user with a name of zeros, packed without having them all in memory."""
    size = mebibytes * _MIB
    name = _field(2, size)
    packer = zlib.compressobj(1, wbits=31)
    parts = [packer.compress(_field(1, len(name) + size) + name)]
    parts += [packer.compress(bytes(_MIB)) for _ in range(mebibytes)]
    return b"".join((*parts, packer.flush()))
