"""The bounds in time: of all attempts of a call together, and of each."""

import asyncio

from gateway.errors import DeadlineExceededError, GatewayFaultError, ServiceTimeoutError
from gateway.outcome import Failure
from workers.execution import Execution, Proceed, Result

__all__ = ["attempt", "total"]


async def total(execution: Execution, proceed: Proceed) -> Result:
    """Bound all attempts of the call together, those in earlier workers included; what is parked costs nothing."""
    bound = execution.policy.timeouts.total
    left = execution.left_s
    try:
        async with asyncio.timeout(min(bound - execution.progress.spent_s, left)) as timer:
            execution.progress.total = timer
            return await proceed(execution)
    except TimeoutError:
        if not timer.expired():
            raise
    # A timer may fire a moment early, so both are compared, and not with zero.
    if execution.left_s <= bound - execution.spent_s:
        return _deadline_passed(execution)
    return _timed_out(execution, "total", bound)


async def attempt(execution: Execution, proceed: Proceed) -> Result:
    """Bound one attempt by its own timeout, or by what the deadline leaves of it."""
    bound = execution.policy.timeouts.attempt
    left = execution.left_s
    execution.budget_s = max(0.0, min(bound, left))
    execution.cut_by_deadline = left < bound
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
    if execution.settled:
        said = "the call could not be repeated with success"
    elif execution.result is not None:
        return _interceptor_too_slow(execution)
    else:
        said = "no answer" if execution.wire.first_byte is None else "the answer was not complete"
    return Failure(
        error=ServiceTimeoutError,
        message=f"{said} within {bound:g} s (timeouts.{phase})",
        delivery=execution.delivery,
        extra={"phase": phase},
    )


def _deadline_passed(execution: Execution) -> Failure:
    if execution.result is not None and not execution.settled:
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
