"""A steady load: so many calls a second, each awaited."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway import Gateway
from gateway.call import Call
from gateway.errors import ServiceError
from gateway.reply import Reply

__all__ = ["Sample", "load", "percentile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One call of a load.

    Attributes:
        call_id: of the call.
        submitted: when it was handed to the gateway, on the monotonic clock.
        ended: when its outcome was there.
        outcome: the reply, or the error.
    """

    call_id: str
    submitted: float
    ended: float
    outcome: Reply | ServiceError

    @property
    def latency_s(self) -> float:
        """From the producer's call to its outcome."""
        return self.ended - self.submitted


async def load(
    gateway: Gateway,
    make: Callable[[int], Call],
    *,
    rate: float,
    seconds: float,
    deadline: float,
    batch: int = 1,
) -> list[Sample]:
    """Submit calls at a rate, and await all outcomes.

    Args:
        gateway: takes them.
        make: the call of a number from 0.
        rate: calls a second.
        seconds: how long calls are submitted.
        deadline: of each call, in seconds.
        batch: calls that are submitted together, which costs the producer less.
    """
    started = time.monotonic()
    waiting: list[asyncio.Task[list[Sample]]] = []
    count = round(rate * seconds)
    for first in range(0, count, batch):
        await asyncio.sleep(max(0.0, started + first / rate - time.monotonic()))
        calls = [make(number) for number in range(first, min(first + batch, count))]
        waiting.append(asyncio.create_task(_submit(gateway, calls, deadline)))
    return [sample for samples in await asyncio.gather(*waiting) for sample in samples]


async def _submit(gateway: Gateway, calls: list[Call], deadline: float) -> list[Sample]:
    submitted = time.monotonic()
    pending = await gateway.asubmit_many(calls, deadline=deadline)

    async def one(number: int) -> Sample:
        outcome: Reply | ServiceError
        try:
            outcome = await pending[number]
        except ServiceError as error:
            outcome = error
        return Sample(call_id=pending[number].id, submitted=submitted, ended=time.monotonic(), outcome=outcome)

    return list(await asyncio.gather(*map(one, range(len(calls)))))


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]
