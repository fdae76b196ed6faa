"""A concurrency that is found from latency, with the executor, a real service and the fleet's Redis."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio

from gateway import RestCall, fleet_keys
from gateway.catalogue import Catalogue
from gateway.codec import encode
from gateway.dev.valkey import Valkey
from gateway.envelope import Envelope
from workers.executor import Executor

BEARS, TAKES_S, MOST = 8, 0.02, 100


class Narrow:
    """An HTTP service that works on a few requests at once; the others wait inside it."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(BEARS)
        self.inside = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            self.inside += 1
            async with self._places:
                await asyncio.sleep(TAKES_S)
            self.inside -= 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}")
        writer.close()


@pytest.fixture
async def narrow() -> AsyncIterator[tuple[Narrow, str]]:
    service = Narrow()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    yield service, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def test_the_limit_finds_what_the_service_bears(narrow: tuple[Narrow, str], valkey: Valkey) -> None:
    service, url = narrow
    client: Any = redis.asyncio.Redis.from_url(valkey.url(9))
    await client.flushdb()
    limit = {"concurrency": MOST, "adaptive": True}
    catalogue = Catalogue.parse({"services": {"s": {"rest": {"url": url}, "limit": limit}}})
    executor = Executor(catalogue, {}, result_url=valkey.url(9), result_prefix="celery-task-meta-", worker="w")
    await executor.start()
    enough = asyncio.Event()

    async def caller(first_in_s: float) -> None:
        # One after the other at first, so that the service's latency without a queue is known.
        await asyncio.sleep(first_in_s)
        while not enough.is_set():
            kwargs = encode(Envelope(version=1, call=RestCall("s", "GET", "/"), deadline_at=time.time() + 30))
            await executor.perform(str(uuid4()), (), kwargs, {}, _message)

    callers = [asyncio.ensure_future(caller(0.0 if number < 3 else 2.5)) for number in range(60)]
    found = float(MOST)
    async with asyncio.timeout(40):
        # No more are inside then than the limit allows, give and take those of the moment when it changed.
        while not (2 <= found <= 4 * BEARS and service.inside <= 4 * BEARS):
            await asyncio.sleep(0.2)
            found = float(await client.hget(fleet_keys.limit("s"), "adaptive") or MOST)
    enough.set()
    await asyncio.gather(*callers)
    await executor.close()
    await client.flushdb()
    await client.aclose()


def _message() -> bytes:
    """A call that is parked is of no interest here; its message must only look like one."""
    return b'{"v":1}'
