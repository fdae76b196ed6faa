"""Which attempts follow on which; what is decided is in tests/unit/resilience/test_repetition.py."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.errors import (
    CallCancelledError,
    Delivery,
    OutcomeUnknownError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.outcome import Failure
from gateway.policy import Policy, Retry
from tests.unit.workers.executions import OK, ScriptedFleet, execution
from workers.conclusion import conclude
from workers.execution import NO_PROBE, Execution, Hold, Result
from workers.executor import LAYERS
from workers.resilience.breaker import Permit
from workers.resilience.compose import compose
from workers.verdict import Go

REFUSED = Failure(error=ServiceUnavailableError, message="refused", delivery=Delivery.NOT_SENT)
RESET = Failure(error=ServiceUnavailableError, message="reset", delivery=Delivery.MAYBE_SENT)
BAD = Failure(error=ServiceRejectedError, message="400", delivery=Delivery.ANSWERED, status=400)
QUICK = Policy(retry=Retry(attempts=4, backoff=0.001, max_backoff=0.002))


class Service:
    """Answers one after the other, and then OK."""

    def __init__(self, answers: Sequence[Result]) -> None:
        self._answers = list(answers)
        self.request_ids: list[str] = []

    async def __call__(self, execution: Execution) -> Result:
        self.request_ids.append(execution.attempt_request_id)
        result = self._answers.pop(0) if self._answers else OK
        if isinstance(result, Failure):
            execution.result = result
        return result


async def run(answers: Sequence[Result], **options: Any) -> tuple[Result, Service, Execution]:
    service = Service(answers)
    call = execution(**{"policy": QUICK, **options})
    async with asyncio.timeout(5):
        result = await compose(LAYERS, service)(call)
    return result, service, call


@pytest.mark.parametrize("idempotent", [True, False])
async def test_what_was_not_sent_is_sent_again(idempotent: bool) -> None:
    result, service, call = await run([REFUSED, REFUSED], idempotent=idempotent)
    assert result is OK
    assert service.request_ids == ["r", "r-2", "r-3"]
    assert call.progress.attempts == 3


async def test_what_may_have_been_sent_is_sent_again_if_it_is_idempotent() -> None:
    result, service, _ = await run([RESET], idempotent=True)
    assert (result, len(service.request_ids)) == (OK, 2)
    result, service, call = await run([RESET], idempotent=False)
    assert (result, len(service.request_ids)) == (RESET, 1)
    assert isinstance(result, Failure)
    told = await conclude(call, result)
    assert (told.error, told.delivery) == (OutcomeUnknownError, Delivery.MAYBE_SENT)
    assert "reset" in told.message
    assert told.details["error"] == "ServiceUnavailableError"


async def test_an_answer_that_is_final_is_not_repeated() -> None:
    result, service, _ = await run([BAD])
    assert (result, len(service.request_ids)) == (BAD, 1)


async def test_attempts_end() -> None:
    result, service, _ = await run([REFUSED] * 10)
    assert (result, len(service.request_ids)) == (REFUSED, 4)


async def test_a_long_wait_leaves_the_worker() -> None:
    later = Failure(
        error=ServiceUnavailableError, message="503", delivery=Delivery.ANSWERED, status=503, retry_after_s=2.0
    )
    result, service, _ = await run([later])
    assert isinstance(result, Hold)
    assert result.due_s is not None
    assert 2.0 <= result.due_s <= 2.01
    assert (result.why, result.otherwise, len(service.request_ids)) == ("backoff", later, 1)


async def test_a_wait_beyond_the_deadline_ends_the_call_at_once() -> None:
    later = Failure(
        error=ServiceUnavailableError, message="503", delivery=Delivery.ANSWERED, status=503, retry_after_s=30.0
    )
    result, service, _ = await run([later], left=10.0)
    assert (result, len(service.request_ids)) == (later, 1)


async def test_a_failed_probe_costs_the_call_no_attempt() -> None:
    policy = Policy(retry=Retry(attempts=2, backoff=0.001, max_backoff=0.002))
    probes = [Go(1, number, 0.0, Permit(probe=True), 1) for number in (1, 2, 3)]
    result, service, call = await run([REFUSED] * 4, policy=policy, fleet=ScriptedFleet(probes))
    assert (result, len(service.request_ids)) == (OK, 5)
    assert (call.progress.attempts, call.progress.free) == (5, 3)


async def test_what_was_not_sent_at_last_may_have_been_sent_before() -> None:
    policy = Policy(retry=Retry(attempts=2, backoff=0.001, max_backoff=0.002))
    result, _, call = await run([RESET, REFUSED], policy=policy)
    assert result is REFUSED
    told = await conclude(call, REFUSED)
    assert (told.error, told.delivery) == (ServiceUnavailableError, Delivery.MAYBE_SENT)


async def test_a_cancelled_call_says_so_whatever_it_is() -> None:
    call = execution(idempotent=False)
    cancelled = Failure(error=CallCancelledError, message="cancelled", delivery=Delivery.MAYBE_SENT)
    assert await conclude(call, cancelled) == cancelled


async def test_the_failure_of_an_idempotent_call_keeps_its_class() -> None:
    timed_out = Failure(error=ServiceTimeoutError, message="no answer", delivery=Delivery.MAYBE_SENT)
    assert await conclude(execution(idempotent=True), timed_out) == timed_out
    assert (await conclude(execution(idempotent=False), timed_out)).error is OutcomeUnknownError


async def test_a_retry_is_asked_for_like_any_attempt() -> None:
    fleet = ScriptedFleet([Go(1, 1, 0.0, NO_PROBE, 1)])
    await run([REFUSED], fleet=fleet)
    assert fleet.asked == [(1, False), (2, False)]
    assert fleet.results == [REFUSED, OK]
