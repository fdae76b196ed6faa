"""The one layer that repeats a failed attempt."""

import asyncio
import random

from gateway.outcome import Failure
from workers.execution import Execution, Hold, Proceed, Result
from workers.resilience.repetition import decide, depends_on_idempotency

__all__ = ["SHORT_S", "repeat"]

#: A wait of up to so many seconds is spent in the worker; for a longer one the call is parked.
SHORT_S = 0.5


async def repeat(execution: Execution, proceed: Proceed) -> Result:
    """Make attempts until one succeeds, or may not be repeated, or no time is left for another."""
    retry = execution.policy.retry
    while True:
        result = await proceed(execution)
        if not isinstance(result, Failure):
            return result
        execution.progress.last = result
        if execution.permit.probe and execution.number == execution.progress.attempts:
            # It was sent to find out whether the service is well again, which is not the call's business.
            execution.progress.free += 1
        counted = execution.counted
        idempotent = False
        if depends_on_idempotency(result, counted=counted, retry=retry):
            idempotent = await execution.idempotent()
        again = decide(result, counted=counted, idempotent=idempotent, retry=retry, random=random.random)
        total_left_s = execution.total_left_s
        if again is None or again.after_s >= execution.left_s or total_left_s <= 0:
            return result
        if again.after_s > SHORT_S:
            return Hold("backoff", again.after_s, result)
        if again.after_s >= total_left_s:
            return result
        await asyncio.sleep(again.after_s)
