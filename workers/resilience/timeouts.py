"""The bounds in time: the call's deadline, its total in the worker, and each attempt."""

import asyncio
from time import monotonic

from gateway.errors import DeadlineExceededError, Delivery, GatewayFaultError, ServiceTimeoutError
from gateway.outcome import Failure
from workers.attempt import Wire
from workers.execution import Execution, Proceed, Result

__all__ = ["attempt", "deadline", "total"]


async def deadline(execution: Execution, proceed: Proceed) -> Result:
    """Refuse a call whose deadline passed in the queue: nobody waits for it any more."""
    left = execution.deadline.left(monotonic())
    if left <= 0:
        return Failure(
            error=DeadlineExceededError,
            message=f"its deadline passed {-left:.1f} s before a worker could start it; it was not sent",
            delivery=Delivery.NOT_SENT,
            extra={"phase": "deadline"},
        )
    return await proceed(execution)


async def total(execution: Execution, proceed: Proceed) -> Result:
    """Bound all attempts of the call together."""
    bound = execution.policy.timeouts.total
    left = execution.deadline.left(monotonic())
    try:
        async with asyncio.timeout(min(bound, left)) as timer:
            return await proceed(execution)
    except TimeoutError:
        if not timer.expired():
            raise
    if left <= bound:
        return _deadline_passed(execution)
    return _timed_out(execution, "total", bound)


async def attempt(execution: Execution, proceed: Proceed) -> Result:
    """Bound one attempt by its own timeout, or by what the deadline leaves of it."""
    bound = execution.policy.timeouts.attempt
    left = execution.deadline.left(monotonic())
    execution.attempts += 1
    execution.wire = Wire()
    execution.result = None
    execution.budget_s = max(0.0, min(bound, left))
    try:
        async with asyncio.timeout(execution.budget_s) as timer:
            return await proceed(execution)
    except TimeoutError:
        if not timer.expired():
            raise
    if left <= bound:
        return _deadline_passed(execution)
    return _timed_out(execution, "attempt", bound)


def _timed_out(execution: Execution, phase: str, bound: float) -> Failure:
    if execution.result is not None:
        return _interceptor_too_slow(execution)
    said = "no answer" if execution.wire.first_byte is None else "the answer was not complete"
    return Failure(
        error=ServiceTimeoutError,
        message=f"{said} within {bound:g} s (timeouts.{phase})",
        delivery=execution.delivery,
        extra={"phase": phase},
    )


def _deadline_passed(execution: Execution) -> Failure:
    if execution.result is not None:
        return _interceptor_too_slow(execution)
    return Failure(
        error=DeadlineExceededError,
        message="the call's deadline passed before the service had answered",
        delivery=execution.delivery,
        extra={"phase": "deadline"},
    )


def _interceptor_too_slow(execution: Execution) -> Failure:
    """The transport has ended, so it is not the service that takes so long."""
    return Failure(
        error=GatewayFaultError,
        message="an interceptor after the attempt did not end in time",
        delivery=execution.delivery,
    )
