"""Conversions of large bodies, and the loop meanwhile."""

import asyncio
import threading

import pytest

from workers.transports.conversion import LARGE_BYTES, convert


async def test_a_large_one_leaves_the_loop_alone() -> None:
    the_loop_went_on = threading.Event()
    asyncio.get_running_loop().call_soon(the_loop_went_on.set)
    assert await convert(LARGE_BYTES + 1, the_loop_went_on.wait, 5.0)


async def test_a_small_one_costs_no_thread() -> None:
    assert await convert(LARGE_BYTES, threading.get_ident) == threading.get_ident()


async def test_errors_come_back() -> None:
    for size in (1, LARGE_BYTES + 1):
        with pytest.raises(ValueError, match="invalid literal"):
            await convert(size, int, "x")


async def test_who_is_cancelled_does_not_wait_for_the_thread() -> None:
    started, release = threading.Event(), threading.Event()

    def busy() -> None:
        started.set()
        release.wait(5.0)

    task = asyncio.create_task(convert(LARGE_BYTES + 1, busy))
    try:
        await asyncio.to_thread(started.wait, 5.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not release.is_set()
    finally:
        release.set()
