"""A second attempt beside a slow first one: who wins, and what becomes of the other."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.errors import Delivery, ServiceRejectedError, ServiceUnavailableError
from gateway.outcome import Failure
from gateway.policy import Hedge, Policy, Retry
from tests.unit.workers.executions import OK, ScriptedFleet, execution
from workers.attempt import Answer
from workers.execution import NO_PROBE, Execution, Result
from workers.executor import LAYERS
from workers.resilience.compose import compose
from workers.verdict import Go, Wait

SECOND = Answer(status=201, headers={}, data="second")
RESET = Failure(error=ServiceUnavailableError, message="reset", delivery=Delivery.MAYBE_SENT)
NOT_FOUND = Failure(error=ServiceRejectedError, message="404", delivery=Delivery.ANSWERED, status=404)
BUSY = Failure(error=ServiceUnavailableError, message="503", delivery=Delivery.ANSWERED, status=503)
HEDGED = Policy(hedge=Hedge(after=0.02), retry=Retry(attempts=1))


class Slow:
    """Each attempt's result and how long it takes, in order of their start."""

    def __init__(self, plan: Sequence[tuple[Result, float]]) -> None:
        self._plan = list(plan)
        self.request_ids: list[str] = []
        self.cancelled = 0
        self.two = asyncio.Event()

    async def __call__(self, execution: Execution) -> Result:
        self.request_ids.append(execution.attempt_request_id)
        execution.wire.sent = 1.0
        if len(self.request_ids) == 2:
            self.two.set()
        result, seconds = self._plan.pop(0)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(result, Answer | Failure):
            execution.result = result
        return result


async def run(plan: Sequence[tuple[Result, float]], **options: Any) -> tuple[Result, Slow, Execution, ScriptedFleet]:
    service = Slow(plan)
    fleet = options.setdefault("fleet", ScriptedFleet(hedge_after_s=0.02))
    call = execution(**{"policy": HEDGED, **options})
    async with asyncio.timeout(5):
        result = await compose(LAYERS, service)(call)
    return result, service, call, fleet


async def test_a_quick_first_attempt_stays_alone() -> None:
    result, service, _, fleet = await run([(OK, 0.0)])
    assert (result, service.request_ids, fleet.asked) == (OK, ["r"], [(1, False)])


async def test_the_second_answer_wins_when_it_comes_first() -> None:
    result, service, call, fleet = await run([(OK, 60.0), (SECOND, 0.0)])
    assert result is SECOND
    assert (service.request_ids, service.cancelled) == (["r", "r-2"], 1)
    # The reply tells of the attempt that won.
    assert (call.number, call.attempt_request_id, call.progress.attempts) == (2, "r-2", 2)
    assert fleet.asked == [(1, False), (2, True)]
    assert sorted(fleet.results, key=str) == sorted([None, SECOND], key=str)
    # Each gives back what it was let through with.
    assert sorted(fleet.ended_numbers) == [1, 2]
    assert call.progress.on_wire == []


async def test_the_first_answer_wins_when_it_comes_first() -> None:
    result, service, call, _ = await run([(OK, 0.3), (SECOND, 60.0)])
    assert (result, service.cancelled, call.attempt_request_id) == (OK, 1, "r")


@pytest.mark.parametrize("first", [RESET, BUSY])
async def test_a_failure_waits_for_the_other(first: Failure) -> None:
    result, _, _, _ = await run([(first, 0.3), (SECOND, 0.6)])
    assert result is SECOND
    result, _, call, _ = await run([(OK, 0.4), (first, 0.01)])
    assert (result, call.attempt_request_id) == (OK, "r")


async def test_a_no_is_an_answer_too() -> None:
    result, service, _, _ = await run([(OK, 60.0), (NOT_FOUND, 0.0)])
    assert (result, service.cancelled) == (NOT_FOUND, 1)


async def test_when_both_fail_the_first_is_told() -> None:
    result, _, _, _ = await run([(RESET, 0.3), (BUSY, 0.0)])
    assert result is RESET


async def test_only_idempotent_calls_are_hedged() -> None:
    result, service, _, _ = await run([(OK, 0.06)], idempotent=False)
    assert (result, service.request_ids) == (OK, ["r"])


async def test_without_enough_latencies_there_is_no_second_attempt() -> None:
    result, service, _, _ = await run([(OK, 0.06)], fleet=ScriptedFleet(hedge_after_s=None))
    assert (result, service.request_ids) == (OK, ["r"])


async def test_a_second_attempt_that_the_fleet_refuses_changes_nothing() -> None:
    fleet = ScriptedFleet([Go(1, 1, 0.0, NO_PROBE, 1), Wait(1, 2, "budget", None)], hedge_after_s=0.02)
    result, service, call, _ = await run([(OK, 0.06)], fleet=fleet)
    assert (result, service.request_ids, call.progress.attempts) == (OK, ["r"], 1)


async def test_a_first_attempt_that_waits_for_its_place_is_not_hedged() -> None:
    # Less than it waits, and far more than the attempt then takes.
    fleet = ScriptedFleet([Wait(1, 1, "concurrency", None)], hedge_after_s=0.09)
    result, service, _, fleet = await run([(OK, 0.0)], fleet=fleet)
    assert (result, service.request_ids) == (OK, ["r"])
    assert all(not hedge for _, hedge in fleet.asked)


async def test_cancelling_the_call_cancels_both() -> None:
    service = Slow([(OK, 60.0), (SECOND, 60.0)])
    call = execution(policy=HEDGED, fleet=ScriptedFleet(hedge_after_s=0.01))
    task = asyncio.ensure_future(compose(LAYERS, service)(call))
    async with asyncio.timeout(5):
        await service.two.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (service.cancelled, call.progress.on_wire, call.delivery) == (2, [], Delivery.MAYBE_SENT)
