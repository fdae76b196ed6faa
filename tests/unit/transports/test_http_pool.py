"""`HttpPool`: what operators see, and what httpx sees."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.dev.process import free_port
from gateway.policy import Connections
from tests.conformance.contract import eventually
from tests.servers.authority import PemFiles
from tests.servers.http_faults import HttpFaults
from workers.transports.base import Wire
from workers.transports.http import HttpPool
from workers.transports.tls import Certificates


@pytest.fixture
async def faults() -> AsyncIterator[HttpFaults]:
    async with HttpFaults() as server:
        yield server


async def test_repr_tells_the_operators_story(faults: HttpFaults) -> None:
    pool = HttpPool("user-service/rest", Connections(max=2))
    assert repr(pool) == "<HttpPool user-service/rest 0 busy, 0 idle, 0 waiting>"
    slow = httpx.Request("GET", f"{faults.url}/hang-in-body")
    first, second = await pool.handle_async_request(slow), await pool.handle_async_request(slow)
    third = asyncio.create_task(pool.handle_async_request(httpx.Request("GET", f"{faults.url}/ok")))
    await eventually(lambda: "1 waiting" in repr(pool))
    assert repr(pool) == "<HttpPool user-service/rest 2 busy, 0 idle, 1 waiting>"
    await first.aclose()
    await (await third).aread()
    assert repr(pool) == "<HttpPool user-service/rest 1 busy, 1 idle, 0 waiting>"
    await second.aclose()
    assert repr(pool) == "<HttpPool user-service/rest 0 busy, 1 idle, 0 waiting>"
    await pool.aclose()
    assert repr(pool) == "<HttpPool user-service/rest 0 busy, 0 idle, 0 waiting, closed>"


async def test_an_ordinary_httpx_client_can_use_it(faults: HttpFaults) -> None:
    async with httpx.AsyncClient(transport=HttpPool("a", Connections())) as client:
        reply = await client.post(f"{faults.url}/coded/gzip/whole", json={"x": 1})
        assert reply.json() == {"data": {"ok": True}}
        await client.post(f"{faults.url}/ok", content=chunks())
    assert [arrival.body for arrival in faults.arrivals] == [b'{"x":1}', b"onetwo"]


async def chunks() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


async def test_a_response_closed_early_closes_its_connection(faults: HttpFaults) -> None:
    pool = HttpPool("a", Connections(max=1))
    response = await pool.handle_async_request(httpx.Request("GET", f"{faults.url}/hang-in-body"))
    await response.aclose()
    assert repr(pool) == "<HttpPool a 0 busy, 0 idle, 0 waiting>"
    await response.aclose()  # a second time gives nothing back twice
    assert repr(pool) == "<HttpPool a 0 busy, 0 idle, 0 waiting>"
    await pool.aclose()


async def test_an_idle_connection_is_kept_as_long_as_it_is_said(faults: HttpFaults) -> None:
    pool = HttpPool("a", Connections(keepalive=0.05))
    await (await pool.handle_async_request(httpx.Request("GET", f"{faults.url}/ok"))).aread()
    await eventually(lambda: "0 busy, 0 idle" in repr(pool))
    await pool.aclose()


async def test_requests_that_cannot_be_written_are_not_sent(faults: HttpFaults) -> None:
    pool = HttpPool("a", Connections(max=1))
    for _ in range(2):  # the second one would find no permit if the first had kept it
        wire = Wire()
        request = httpx.Request("GET", f"{faults.url}/ok", headers={"x": "a\r\nb: c"}, extensions={"wire": wire})
        with pytest.raises(httpx.LocalProtocolError):
            await pool.handle_async_request(request)
        assert wire.sent is None
    assert faults.arrivals == []
    await pool.aclose()


async def test_tls_with_an_authority_of_our_own(tmp_path: Path) -> None:
    files = PemFiles(tmp_path)
    async with HttpFaults(tls=files.server()) as server:
        pool = HttpPool("a", Connections(max=1), certificates=Certificates("a", files.table()))
        for _ in range(2):
            response = await pool.handle_async_request(httpx.Request("GET", f"{server.url}/ok"))
            assert await response.aread() == b'{"data": {"ok": true}}'
            await response.aclose()
        assert server.connections == 1
        await pool.aclose()


async def test_a_reply_under_way_goes_on_with_the_old_certificates(tmp_path: Path) -> None:
    files, now = PemFiles(tmp_path), 0.0
    async with HttpFaults(tls=files.server()) as server:
        certificates = Certificates("a", files.table(), clock=lambda: now)
        pool = HttpPool("a", Connections(max=2), certificates=certificates)

        async def begin() -> httpx.Response:
            return await pool.handle_async_request(httpx.Request("GET", f"{server.url}/ok"))

        first = await begin()
        files.write("ca.pem", files.ours.cert_pem.bytes() + files.other.cert_pem.bytes())
        now = 2.0
        second = await begin()
        assert server.connections == 2
        for reply in (first, second):
            assert await reply.aread() == b'{"data": {"ok": true}}'
            await reply.aclose()
        assert "0 busy, 1 idle" in repr(pool), "the old connection was closed"
        third = await begin()
        await third.aread()
        await third.aclose()
        assert server.connections == 2
        await pool.aclose()


async def test_a_connection_that_failed_names_the_reason() -> None:
    pool = HttpPool("a", Connections())
    port = free_port()
    with pytest.raises(httpx.ConnectError, match=f"cannot connect to 127.0.0.1:{port}: .*refused"):
        await pool.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{port}/"))
    with pytest.raises(httpx.ConnectError, match="no address for no-such-host.invalid"):
        await pool.handle_async_request(httpx.Request("GET", "http://no-such-host.invalid/"))
    await pool.aclose()
