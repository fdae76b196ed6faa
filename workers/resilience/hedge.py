"""A second attempt beside a slow first one."""

import asyncio
from collections.abc import Awaitable

from gateway.errors import Delivery
from gateway.outcome import Failure
from workers.attempt import Answer
from workers.execution import Execution, Proceed, Result

__all__ = ["hedge"]


def hedge(execution: Execution, proceed: Proceed) -> Awaitable[Result]:
    """Start a second attempt when the first takes long; the first answer wins, and the other attempt is cancelled.

    Only for idempotent calls. The second attempt is paid from the retry budget, and asks the limits like any other.
    """
    return _race(execution, proceed) if execution.policy.hedge.enabled else proceed(execution)


async def _race(execution: Execution, proceed: Proceed) -> Result:
    after_s = execution.fleet.hedge_after_s(execution)
    if after_s is None or not await execution.idempotent():
        return await proceed(execution)
    first = asyncio.ensure_future(proceed(execution))
    tries: list[tuple[Execution, asyncio.Future[Result]]] = [(execution, first)]
    try:
        started = await _on_wire(execution, first, after_s)
        if started:
            branch = execution.branch()
            tries.append((branch, asyncio.ensure_future(proceed(branch))))
        winner, result = await _first_answer(execution, tries)
    finally:
        losers = [task for _, task in tries if not task.done()]
        for task in losers:
            task.cancel()
        if losers:
            await asyncio.wait(losers)
    # Not before: until they have ended, the others report by what the call says of them.
    execution.progress.free += sum(branch.number > 0 for branch, _ in tries[1:])
    if winner is not execution:
        execution.adopt(winner)
    return result


async def _on_wire(execution: Execution, first: "asyncio.Future[Result]", after_s: float) -> bool:
    """Wait until the first attempt has been under way for `after_s`; False if it ended before."""
    while True:
        done, _ = await asyncio.wait([first], timeout=after_s)
        if done:
            return False
        # While it waits for a limit, a second one would only wait beside it.
        if execution in execution.progress.on_wire:
            return True


async def _first_answer(
    execution: Execution, tries: "list[tuple[Execution, asyncio.Future[Result]]]"
) -> tuple[Execution, Result]:
    """Whose answer came first, and that; without one, what the first attempt came to."""
    running = {task: attempt for attempt, task in tries}
    while running:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            attempt = running.pop(task)
            result = task.result()
            if _decides(result, execution):
                return attempt, result
    return execution, tries[0][1].result()


def _decides(result: Result, execution: Execution) -> bool:
    """Whether it is an answer, if only a no, which the other attempt would get too."""
    if isinstance(result, Answer):
        return True
    if not isinstance(result, Failure) or result.delivery is not Delivery.ANSWERED or result.incomplete:
        return False
    return result.status not in execution.policy.retry.statuses
