"""What the layer that asks the fleet makes of each answer."""

import asyncio

import pytest

from gateway.errors import (
    CallCancelledError,
    CircuitOpenError,
    DeadlineExceededError,
    Delivery,
    OutcomeUnknownError,
    RateLimitedError,
    ServiceError,
    ServiceUnavailableError,
)
from gateway.outcome import Failure
from tests.unit.workers.executions import OK, ScriptedFleet, execution
from workers.execution import NO_PROBE, Execution, Hold, Result
from workers.executor import LAYERS
from workers.outcomes import Dropped
from workers.resilience.admit import admit
from workers.resilience.breaker import Permit
from workers.resilience.compose import compose
from workers.verdict import Cancelled, Drop, Elsewhere, Go, Late, Past, Poison, Verdict, Wait, Why


async def never(_: Execution) -> Result:
    raise AssertionError("it was sent")


async def answer(execution: Execution) -> Result:
    execution.wire.sent = 1.0
    execution.result = OK
    return OK


async def test_an_attempt_that_may_go_is_sent_and_reported() -> None:
    fleet = ScriptedFleet([Go(7, 3, 0.0, Permit(probe=True), 5, Past(free=1, maybe_sent=True, spent_s=2.0))])
    call = execution(fleet=fleet)
    assert await admit(call, answer) is OK
    assert (call.number, call.permit.probe, call.attempt_request_id) == (3, True, "r-3")
    progress = call.progress
    assert (progress.attempts, progress.free, progress.maybe_sent, progress.spent_s) == (3, 1, True, 2.0)
    assert (progress.token, progress.paid, progress.on_wire) == (7, 3, [])
    assert (fleet.began_attempts, fleet.results) == (1, [OK])


async def test_the_past_is_taken_over_once() -> None:
    past = Past(free=1, spent_s=2.0)
    fleet = ScriptedFleet([Go(7, 3, 0.0, NO_PROBE, 1, past), Go(7, 4, 0.0, NO_PROBE, 1, past)])
    call = execution(fleet=fleet)
    await admit(call, answer)
    await admit(call, answer)
    assert (call.progress.free, call.progress.spent_s, call.progress.attempts) == (1, 2.0, 4)


async def test_a_cancelled_attempt_is_reported_without_a_result() -> None:
    fleet = ScriptedFleet()
    call = execution(fleet=fleet)

    sent = asyncio.Event()

    async def hang(execution: Execution) -> Result:
        execution.wire.sent = 1.0
        sent.set()
        await asyncio.Event().wait()
        return OK

    task = asyncio.ensure_future(admit(call, hang))
    await sent.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (fleet.results, call.progress.on_wire, call.delivery) == ([None], [], Delivery.MAYBE_SENT)


@pytest.mark.parametrize(
    ("verdict", "left", "error"),
    [
        (Wait(1, 1, "breaker", 30.0), 10.0, CircuitOpenError),
        (Wait(1, 1, "breaker", None), 0.5, CircuitOpenError),
        (Wait(1, 1, "limit", 30.0), 10.0, RateLimitedError),
        (Wait(1, 1, "concurrency", None), 0.1, RateLimitedError),
        (Late(1, 1, "breaker"), -1.0, CircuitOpenError),
        (Late(1, 1, "limit"), -1.0, RateLimitedError),
        (Late(1, 1, "concurrency"), -1.0, RateLimitedError),
        (Late(1, 1, ""), -1.0, DeadlineExceededError),
        (Late(1, 1, "backoff"), -1.0, DeadlineExceededError),
    ],
)
async def test_what_cannot_wait_ends_at_once_and_says_for_what(
    verdict: Verdict, left: float, error: type[ServiceError]
) -> None:
    fleet = ScriptedFleet([verdict] * 20)
    async with asyncio.timeout(1):
        result = await compose(LAYERS, never)(execution(left=left, fleet=fleet))
    assert isinstance(result, Failure)
    assert (result.error, result.delivery, result.repeatable) == (error, Delivery.NOT_SENT, False)
    if isinstance(verdict, Wait):
        assert result.retry_after_s == verdict.estimate_s


@pytest.mark.parametrize(
    ("why", "estimate_s", "due_s"),
    [("breaker", 5.0, None), ("breaker", None, None), ("limit", 5.0, None), ("budget", 5.0, 5.0)],
)
async def test_what_can_wait_is_held(why: Why, estimate_s: float | None, due_s: float | None) -> None:
    fleet = ScriptedFleet([Wait(1, 2, why, estimate_s, due_s)])
    call = execution(left=60.0, fleet=fleet)
    result = await admit(call, never)
    assert isinstance(result, Hold)
    assert (result.why, result.due_s) == (why, due_s)
    # A promise of the budget is kept when the call comes back.
    assert call.progress.paid == (2 if due_s else 0)
    assert (fleet.began_attempts, call.progress.token) == (0, 1)


async def test_a_short_wait_is_spent_here() -> None:
    fleet = ScriptedFleet([Wait(1, 1, "limit", 0.02), Wait(1, 1, "concurrency", None)])
    assert await admit(execution(fleet=fleet), answer) is OK
    assert (len(fleet.asked), fleet.waited) == (3, 1)


async def test_a_place_is_not_waited_for_for_ever() -> None:
    fleet = ScriptedFleet([Wait(1, 1, "concurrency", None)] * 100)
    async with asyncio.timeout(5):
        result = await admit(execution(fleet=fleet), never)
    assert isinstance(result, Hold)
    assert result.why == "concurrency"
    assert 1 < len(fleet.asked) < 10


async def test_where_enough_calls_wait_a_further_one_is_held_at_once() -> None:
    fleet = ScriptedFleet([Wait(1, 1, "concurrency", None)])
    fleet.room = False
    result = await admit(execution(fleet=fleet), never)
    assert isinstance(result, Hold)
    assert (len(fleet.asked), fleet.waited) == (1, 0)


async def test_an_empty_budget_ends_the_call_with_its_last_failure() -> None:
    last = Failure(error=ServiceUnavailableError, message="refused", delivery=Delivery.NOT_SENT)
    call = execution(fleet=ScriptedFleet([Wait(1, 2, "budget", None)]))
    call.progress.last = last
    result = await admit(call, never)
    assert isinstance(result, Failure)
    assert (result.error, result.message, result.repeatable) == (ServiceUnavailableError, "refused", False)


@pytest.mark.parametrize("verdict", [Drop("it has its outcome"), Elsewhere(5.0)])
async def test_what_is_elsewhere_is_left_there(verdict: Verdict) -> None:
    for left in (60.0, -1.0):
        result = await compose(LAYERS, never)(execution(left=left, fleet=ScriptedFleet([verdict])))
        assert result == (Dropped("it has its outcome") if isinstance(verdict, Drop) else verdict)


@pytest.mark.parametrize(("maybe", "delivery"), [(False, Delivery.NOT_SENT), (True, Delivery.MAYBE_SENT)])
async def test_a_cancelled_call_is_not_sent(maybe: bool, delivery: Delivery) -> None:
    result = await admit(execution(fleet=ScriptedFleet([Cancelled(maybe)])), never)
    assert isinstance(result, Failure)
    assert (result.error, result.delivery) == (CallCancelledError, delivery)


async def test_a_call_of_a_dead_worker_is_repeated_if_it_is_idempotent() -> None:
    interrupted = Go(2, 2, 0.0, NO_PROBE, 1, Past(interrupted=True))
    call = execution(fleet=ScriptedFleet([interrupted]), idempotent=True)
    assert await admit(call, answer) is OK
    assert call.attempt_request_id == "r-2"
    fleet = ScriptedFleet([interrupted])
    call = execution(fleet=fleet, idempotent=False)
    result = await admit(call, never)
    assert isinstance(result, Failure)
    assert (result.error, result.delivery) == (OutcomeUnknownError, Delivery.MAYBE_SENT)
    # The place that it was given goes back, and the attempt was never made.
    assert (fleet.began_attempts, fleet.results, call.progress.attempts) == (1, [None], 1)


@pytest.mark.parametrize("verdict", [Wait(2, 2, "breaker", 5.0, None, Past(interrupted=True))])
async def test_a_call_of_a_dead_worker_is_not_even_parked(verdict: Verdict) -> None:
    result = await admit(execution(fleet=ScriptedFleet([verdict]), idempotent=False), never)
    assert isinstance(result, Failure)
    assert result.error is OutcomeUnknownError


async def test_a_slot_of_the_rate_is_waited_for() -> None:
    fleet = ScriptedFleet([Go(1, 1, 0.05, NO_PROBE, 1)])
    call = execution(fleet=fleet)
    began = asyncio.get_running_loop().time()
    assert await admit(call, answer) is OK
    assert asyncio.get_running_loop().time() - began >= 0.045


async def test_a_call_that_ended_its_workers_is_not_sent_though_it_is_idempotent() -> None:
    call = execution(fleet=ScriptedFleet([Poison(4, 4, 3)]))
    failure = await admit(call, never)
    assert isinstance(failure, Failure)
    assert (failure.error, failure.delivery, failure.repeatable) == (OutcomeUnknownError, Delivery.MAYBE_SENT, False)
    assert failure.details == {"deaths": 3}
    assert (call.progress.token, call.progress.attempts) == (4, 3)


async def test_attempts_that_failed_make_the_calls_history() -> None:
    refused = Failure(error=ServiceUnavailableError, message="answered 503", delivery=Delivery.ANSWERED, status=503)
    call = execution()

    async def fail(execution: Execution) -> Result:
        execution.wire.sent = 1.0
        execution.result = refused
        return refused

    await admit(call, fail)
    await admit(call, answer)
    (made,) = call.history
    assert (made.number, made.worker, made.outcome) == (1, "host:1", "ServiceUnavailableError")
    assert (made.status, made.delivery) == (503, Delivery.ANSWERED)
    assert made.at == pytest.approx(1000.0, abs=1.0)
    assert 0 <= made.took_s < 1


async def test_an_attempt_that_was_given_up_is_in_the_history_without_an_answer() -> None:
    call = execution()

    async def hang(execution: Execution) -> Result:
        execution.wire.sent = 1.0
        await asyncio.Event().wait()
        return OK

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await admit(call, hang)
    (made,) = call.history
    assert (made.outcome, made.delivery) == ("no answer", Delivery.MAYBE_SENT)
    assert made.took_s == pytest.approx(0.05, abs=0.5)
