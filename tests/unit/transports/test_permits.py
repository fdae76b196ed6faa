"""The places of a transport: how they are waited for, and that none is lost."""

import asyncio

import pytest

from tests.conformance.contract import eventually
from workers.transports.permits import Permits


async def test_places_are_counted() -> None:
    permits = Permits(2)
    await permits.take(None)
    await permits.take(0.0)  # one that is free costs no time
    waiting = asyncio.create_task(permits.take(5.0))
    await eventually(lambda: permits.waiting)
    assert repr(permits) == "<Permits 2 busy, 1 waiting>"
    permits.give_back()
    await waiting
    assert repr(permits) == "<Permits 2 busy, 0 waiting>"
    permits.give_back()
    permits.give_back()
    assert repr(permits) == "<Permits 0 busy, 0 waiting>"


async def test_first_come_first_served() -> None:
    permits = Permits(1)
    await permits.take(None)
    served: list[int] = []

    async def one(number: int) -> None:
        await permits.take(5.0)
        served.append(number)
        permits.give_back()

    tasks = [asyncio.create_task(one(number)) for number in range(20)]
    await eventually(lambda: permits.waiting == 20)
    permits.give_back()
    # Who comes now finds others waiting, and goes behind them.
    tasks.append(asyncio.create_task(one(20)))
    await asyncio.gather(*tasks)
    assert served == list(range(21))
    assert permits.busy == 0


async def test_a_wait_is_bounded() -> None:
    permits = Permits(1)
    await permits.take(None)
    with pytest.raises(TimeoutError):
        await permits.take(0.01)
    assert (permits.busy, permits.waiting) == (1, 0)
    permits.give_back()
    await permits.take(0.0)


@pytest.mark.parametrize("when", ["while waiting", "as the place comes"])
async def test_who_is_cancelled_takes_nothing(when: str) -> None:
    permits = Permits(1)
    await permits.take(None)
    tasks = [asyncio.create_task(permits.take(5.0)) for _ in range(3)]
    await eventually(lambda: permits.waiting == 3)
    if when == "as the place comes":
        permits.give_back()  # the first of them has it, and does not know yet
    for task in tasks[:2]:
        task.cancel()
    results = await asyncio.gather(*tasks[:2], return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    if when == "while waiting":
        permits.give_back()
    await tasks[2]
    assert (permits.busy, permits.waiting) == (1, 0)
    permits.give_back()
    await permits.take(0.0)
