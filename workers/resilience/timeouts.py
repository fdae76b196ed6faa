"""The bound of one attempt: its own timeout, or what the call's total and its deadline leave of it.

One timer for each attempt, and none around them: every stage before it takes what is left, and none of them waits for
longer than a moment.
"""

import asyncio
from dataclasses import replace

from gateway.errors import DeadlineExceededError, GatewayFaultError, ServiceTimeoutError
from gateway.outcome import Failure
from workers.execution import Execution, Proceed, Result

__all__ = ["attempt"]


async def attempt(execution: Execution, proceed: Proceed) -> Result:
    """Bound one attempt."""
    timeouts = execution.policy.timeouts
    own, total, left = timeouts.attempt, execution.total_left_s, execution.left_s
    execution.budget_s = max(0.0, min(own, total, left))
    if execution.budget_s == 0 and execution.progress.last is not None:
        # It waited until nothing was left, and was not sent: how the attempt before it ended says more.
        return replace(execution.progress.last, repeatable=False)
    try:
        async with asyncio.timeout(execution.budget_s) as timer:
            return await proceed(execution)
    except TimeoutError:
        if not timer.expired():
            raise
    if execution.result is not None:
        # The transport has ended, so it is not the service that takes so long.
        return Failure(
            error=GatewayFaultError,
            message="an interceptor after the attempt did not end in time",
            delivery=execution.attempt_delivery,
        )
    if left <= min(own, total):
        return Failure(
            error=DeadlineExceededError,
            message="the call's deadline passed before the service had answered",
            delivery=execution.attempt_delivery,
            extra={"phase": "deadline"},
        )
    phase, bound = ("attempt", own) if own <= total else ("total", timeouts.total)
    said = "no answer" if execution.wire.first_byte is None else "the answer was not complete"
    return Failure(
        error=ServiceTimeoutError,
        message=f"{said} within {bound:g} s (timeouts.{phase})",
        delivery=execution.attempt_delivery,
        extra={"phase": phase},
    )
