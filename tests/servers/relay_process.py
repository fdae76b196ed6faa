"""A TCP relay in a process of its own, for what is too much for threads: `python -m tests.servers.relay_process PORT`.

It prints its port when it listens, passes bytes on to PORT, and resets every connection at SIGUSR1.
"""

import asyncio
import contextlib
import signal
import socket
import struct
import sys
from typing import Any

import uvloop

#: Resets instead of closing in order (SO_LINGER with no time).
_LINGER = struct.pack("ii", 1, 0)
_ends: set[Any] = set()


class End(asyncio.Protocol):
    """One end of a link; what it reads, the other end writes."""

    def __init__(self, other: "End | None" = None) -> None:
        self.other = other
        self.transport: Any = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        _ends.add(transport)
        if self.other is None:
            self.task = asyncio.get_running_loop().create_task(self.connect())
        else:
            self.other.other = self
            self.transport.writelines(self.other.early)

    async def connect(self) -> None:
        """Of the client's end: connect to the server."""
        try:
            await asyncio.get_running_loop().create_connection(lambda: End(self), "127.0.0.1", int(sys.argv[1]))
        except OSError:
            self.abort()

    def data_received(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self.early.append(data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is not None:
            _ends.discard(self.transport)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def abort(self) -> None:
        """Reset this end."""
        if self.transport is not None:
            _reset(self.transport)


def _reset(transport: Any) -> None:
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    transport.abort()


def reset_all() -> None:
    """Reset every link."""
    for transport in list(_ends):
        _reset(transport)


async def serve() -> None:
    """Relay until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(End, "127.0.0.1", 0, backlog=1000)
    loop.add_signal_handler(signal.SIGUSR1, reset_all)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - its parent waits for it
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve())
