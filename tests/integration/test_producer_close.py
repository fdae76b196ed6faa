"""Closing a gateway is final, and whoever waits is told."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import Gateway, RestCall, Settings
from gateway.dev.valkey import Valkey

CALL = RestCall("user-service", "GET", "/users/1")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Nobody works on its calls."""
    server = Valkey(tmp_path)
    with Gateway(Settings(broker_url=server.url(), result_url=server.url())) as made:
        yield made
    server.stop()


def wait_until_awaited(gateway: Gateway) -> None:
    ends = time.monotonic() + 10
    while gateway._waiter._listener is None:
        assert time.monotonic() < ends, "nobody waits"
        time.sleep(0.01)


def waiters() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gateway-waiter"]


async def test_a_closed_gateway_does_nothing_more(gateway: Gateway) -> None:
    pending = gateway.submit(CALL)
    with pytest.raises(TimeoutError):
        pending.result(timeout=0.1)
    before = len(waiters())
    gateway.close()
    gateway.close()
    assert len(waiters()) == before - 1
    for use in (
        lambda: gateway.submit(CALL),
        lambda: gateway.signature(CALL),
        lambda: gateway.pending(pending.id).result(timeout=1),
        lambda: pending.result(),
        lambda: pending.state,
        lambda: pending.cancel(),
    ):
        with pytest.raises(RuntimeError, match="the gateway is closed; make a new one"):
            use()
    for ause in (gateway.asubmit(CALL), gateway.asubmit_many([CALL]), pending.aresult(timeout=1), pending.aresult()):
        with pytest.raises(RuntimeError, match="the gateway is closed; make a new one"):
            await ause
    assert len(waiters()) == before - 1, "nothing was started again"


async def test_closing_wakes_who_awaits_with_an_error_of_ours(gateway: Gateway) -> None:
    pending = await gateway.asubmit(CALL)
    awaiting = asyncio.ensure_future(pending.aresult())
    await asyncio.to_thread(wait_until_awaited, gateway)
    await asyncio.get_running_loop().run_in_executor(None, gateway.close)
    with pytest.raises(RuntimeError, match="closed while a result was awaited"):
        await awaiting
    assert not awaiting.cancelled()


async def test_a_task_that_is_cancelled_is_cancelled(gateway: Gateway) -> None:
    pending = await gateway.asubmit(CALL)
    awaiting = asyncio.ensure_future(pending.aresult())
    await asyncio.to_thread(wait_until_awaited, gateway)
    awaiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await awaiting
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await pending


def test_closing_wakes_who_waits_in_a_thread(gateway: Gateway) -> None:
    pending = gateway.submit(CALL)
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            pending.result()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until_awaited(gateway)
    gateway.close()
    thread.join(10)
    assert [type(error) for error in caught] == [RuntimeError]
