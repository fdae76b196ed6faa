"""The bounds in time, on a real loop with short bounds; what they say is decided by marks, not by the clock."""

import asyncio
from typing import Any

import pytest

from gateway import RestCall
from gateway.envelope import Envelope
from gateway.errors import (
    DeadlineExceededError,
    Delivery,
    GatewayFaultError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.outcome import Failure
from gateway.policy import Policy, Retry, Timeouts
from tests.unit.workers.executions import OK, ScriptedFleet, execution
from workers.deadline import Deadline
from workers.execution import NO_PROBE, Execution, Proceed, Result
from workers.executor import LAYERS
from workers.resilience.admit import admit
from workers.resilience.compose import compose
from workers.resilience.timeouts import attempt
from workers.verdict import Go, Past


async def hang(_: Execution) -> Result:
    await asyncio.Event().wait()
    return OK


async def answer(_: Execution) -> Result:
    return OK


async def hang_after_sending(execution: Execution) -> Result:
    execution.wire.sent = 1.0
    return await hang(execution)


async def test_a_call_whose_deadline_passed_in_the_queue_is_never_sent() -> None:
    async def core(_: Execution) -> Result:
        raise AssertionError("it was sent")

    call = execution(left=-1.0)
    result = await compose(LAYERS, core)(call)
    assert isinstance(result, Failure)
    assert (result.error, result.delivery, call.progress.attempts) == (DeadlineExceededError, Delivery.NOT_SENT, 0)


@pytest.mark.parametrize(
    ("bounds", "error", "phase"),
    [
        ({"attempt": 0.05}, ServiceTimeoutError, "attempt"),
        ({"left": 0.3}, DeadlineExceededError, "deadline"),
    ],
)
@pytest.mark.parametrize(("core", "delivery"), [(hang, Delivery.NOT_SENT), (hang_after_sending, Delivery.MAYBE_SENT)])
async def test_a_hanging_attempt_ends_and_says_whether_it_was_sent(
    bounds: dict[str, Any], error: type[Exception], phase: str, core: object, delivery: Delivery
) -> None:
    call = execution(**bounds)
    async with asyncio.timeout(5):
        result = await compose(LAYERS, core)(call)  # type: ignore[arg-type]
    assert isinstance(result, Failure)
    assert (result.error, result.extra["phase"], result.delivery) == (error, phase, delivery)
    assert call.progress.attempts == 1


async def test_an_attempt_gets_what_the_deadline_leaves() -> None:
    seen: list[float] = []

    async def core(execution: Execution) -> Result:
        seen.append(execution.budget_s)
        return OK

    assert await compose(LAYERS, core)(execution(left=2.0, attempt=30.0)) is OK
    assert await compose(LAYERS, core)(execution(left=50.0, attempt=3.0)) is OK
    assert 1.0 < seen[0] <= 2.0
    assert seen[1] == 3.0


async def test_a_timeout_of_the_core_itself_is_not_taken_for_ours() -> None:
    async def core(_: Execution) -> Result:
        raise TimeoutError("not ours")

    with pytest.raises(TimeoutError, match="not ours"):
        await compose(LAYERS, core)(execution())


async def test_cancelling_passes_through() -> None:
    task = asyncio.ensure_future(compose(LAYERS, hang)(execution()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"deadline_at": 1010.0}, 10.0),
        ({"deadline_at": 990.0}, -10.0),
        ({"deadline_s": 5.0}, 5.0),
        ({"deadline_s": 5.0, "sent_at": 998.0}, 3.0),
        ({"deadline_s": 5.0, "sent_at": 2000.0}, 5.0),
        ({}, 30.0),
        ({"deadline_at": 1e12}, 24 * 3600.0),
    ],
)
def test_the_deadline_is_absolute_on_the_wire_and_monotonic_inside(fields: dict[str, Any], left: float) -> None:
    envelope = Envelope(version=1, call=RestCall("users", "GET", "/"), **fields)
    assert Deadline.of(envelope, wall=1000.0, monotonic=50.0).left(50.0) == pytest.approx(left)


async def test_a_slow_interceptor_after_the_answer_is_not_the_services_fault() -> None:
    async def core(execution: Execution) -> Result:
        execution.wire.sent = 1.0
        execution.result = OK
        return await hang(execution)

    for left, bound in ((60.0, 0.05), (0.3, 60.0)):
        result = await compose(LAYERS, core)(execution(left=left, attempt=bound))
        assert isinstance(result, Failure)
        assert (result.error, result.delivery) == (GatewayFaultError, Delivery.ANSWERED)


@pytest.mark.parametrize(
    ("bounds", "error", "phase"),
    [
        ({"total": 0.5, "attempt": 0.1}, ServiceTimeoutError, {"attempt", "total"}),
        # If the last full attempt ends at the deadline, that attempt's timeout is told.
        ({"left": 0.5, "attempt": 0.1}, DeadlineExceededError, {"attempt", "deadline"}),
    ],
)
async def test_all_attempts_together_are_bounded(
    bounds: dict[str, float], error: type[Exception], phase: set[str]
) -> None:
    timeouts = Timeouts(total=bounds.get("total", 60.0), attempt=bounds["attempt"])
    policy = Policy(timeouts=timeouts, retry=Retry(attempts=1000, backoff=0.001, max_backoff=0.001))
    call = execution(policy=policy, left=bounds.get("left", 60.0))
    async with asyncio.timeout(5):
        result = await compose(LAYERS, hang)(call)
    assert isinstance(result, Failure)
    assert result.error in (error, ServiceTimeoutError)
    assert result.extra["phase"] in phase
    assert 1 < call.progress.attempts < 10


async def test_each_attempt_has_marks_of_its_own() -> None:
    seen: list[tuple[object, object]] = []

    async def core(execution: Execution) -> Result:
        seen.append((execution.wire.sent, execution.result))
        execution.wire.sent = 1.0
        execution.result = OK
        return OK

    async def twice(execution: Execution, proceed: Proceed) -> Result:
        await proceed(execution)
        return await proceed(execution)

    await compose((twice, admit, attempt), core)(execution())
    assert seen == [(None, None), (None, None)]


async def test_what_was_spent_in_earlier_workers_counts() -> None:
    fleet = ScriptedFleet([Go(1, 2, 0.0, NO_PROBE, 1, Past(spent_s=59.9))])
    async with asyncio.timeout(5):
        result = await compose(LAYERS, hang_after_sending)(execution(fleet=fleet))
    assert isinstance(result, Failure)
    assert (result.error, result.extra["phase"], result.delivery) == (
        ServiceTimeoutError,
        "total",
        Delivery.MAYBE_SENT,
    )


async def test_when_no_time_is_left_for_another_attempt_the_last_failure_is_told() -> None:
    unavailable = Failure(error=ServiceUnavailableError, message="refused", delivery=Delivery.NOT_SENT)

    async def core(execution: Execution) -> Result:
        execution.result = unavailable
        return unavailable

    retry = Retry(attempts=1000, backoff=0.05, max_backoff=0.05)
    policy = Policy(timeouts=Timeouts(total=0.2, attempt=0.1), retry=retry)
    async with asyncio.timeout(5):
        result = await compose(LAYERS, core)(execution(policy=policy))
    assert isinstance(result, Failure)
    assert (result.error, result.message) == (ServiceUnavailableError, "refused")


@pytest.mark.parametrize(("asked", "cut_short"), [(None, False), (0.01, True)])
async def test_a_producer_that_is_in_a_hurry_says_nothing_about_the_service(
    asked: float | None, cut_short: bool
) -> None:
    call = execution(attempt=1.0)
    if asked is not None:
        call.policy = Policy(timeouts=Timeouts(total=60.0, attempt=asked))
    await compose(LAYERS, answer)(call)
    assert call.cut_short is cut_short
