"""A TLS server that says why it refuses a client, as most do. asyncio's own closes the connection without the alert."""

import asyncio
import contextlib
import ssl
from typing import Self

__all__ = ["AlertingServer"]

#: Seconds of silence after which everything that a client sends by itself is here.
_SILENCE_S = 0.1


class AlertingServer:
    """A server whose handshakes fail; it reads on until the client hangs up, so that no reset overtakes the alert.

    Attributes:
        alerts: handshakes that failed.
        read: bytes of requests that could be read.

    Args:
        context: refuses every client.
        at_once: whether it looks at what arrives at once, or when the client waits for it.
    """

    def __init__(self, context: ssl.SSLContext, *, at_once: bool) -> None:
        self.alerts = 0
        self.read = 0
        self._context = context
        self._at_once = at_once
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._shake_hands(reader, writer)
        finally:
            writer.transport.abort()

    async def _shake_hands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(received, sent, server_side=True)
        with contextlib.suppress(ConnectionError):
            while data := await self._arrived(reader):
                received.write(data)
                try:
                    tls.do_handshake()
                    self.read += len(tls.read())
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError:
                    self.alerts += 1
                    writer.write(sent.read())
                    writer.write_eof()
                    await reader.read()
                    return
                writer.write(sent.read())

    async def _arrived(self, reader: asyncio.StreamReader) -> bytes:
        data = await reader.read(65536)
        while data and not self._at_once:
            try:
                async with asyncio.timeout(_SILENCE_S):
                    more = await reader.read(65536)
            except TimeoutError:
                break
            if not more:
                break
            data += more
        return data
