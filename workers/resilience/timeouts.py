"""The bounds in time: the call's deadline, its total in the worker, and each attempt."""

import asyncio
from time import monotonic

from gateway.errors import DeadlineExceededError, Delivery, ServiceTimeoutError
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
        return _deadline_passed(execution.wire)
    return _timed_out(execution.wire, "total", bound)


async def attempt(execution: Execution, proceed: Proceed) -> Result:
    """Bound one attempt by its own timeout, or by what the deadline leaves of it."""
    bound = execution.policy.timeouts.attempt
    left = execution.deadline.left(monotonic())
    execution.attempts += 1
    execution.wire = Wire()
    execution.budget_s = max(0.0, min(bound, left))
    try:
        async with asyncio.timeout(execution.budget_s) as timer:
            return await proceed(execution)
    except TimeoutError:
        if not timer.expired():
            raise
    if left <= bound:
        return _deadline_passed(execution.wire)
    return _timed_out(execution.wire, "attempt", bound)


def _delivery(wire: Wire) -> Delivery:
    return Delivery.NOT_SENT if wire.sent is None else Delivery.MAYBE_SENT


def _timed_out(wire: Wire, phase: str, bound: float) -> Failure:
    said = "no answer" if wire.first_byte is None else "the answer was not complete"
    return Failure(
        error=ServiceTimeoutError,
        message=f"{said} within {bound:g} s (timeouts.{phase})",
        delivery=_delivery(wire),
        extra={"phase": phase},
    )


def _deadline_passed(wire: Wire) -> Failure:
    return Failure(
        error=DeadlineExceededError,
        message="the call's deadline passed before the service had answered",
        delivery=_delivery(wire),
        extra={"phase": "deadline"},
    )
