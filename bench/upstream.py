"""A service that costs as little as it can: it answers every HTTP/1.1 request with the same small JSON."""

import asyncio
import sys

_BODY = b'{"id":"123","name":"Ada Lovelace","email":"ada@example.com"}'
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class Upstream(asyncio.Protocol):
    """One connection; requests without a body, after a fixed delay.

    Args:
        delay_s: until the answer.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            _, _, self._read = self._read.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(self._delay_s, self._transport.write, _ANSWER)


async def serve(delay_s: float) -> None:
    """Serve on a free port of the loopback, and print it."""
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(delay_s), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
