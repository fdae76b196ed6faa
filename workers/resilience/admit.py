"""The layers that ask the fleet: may this attempt be sent, and may this message still be executed at all?"""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from time import monotonic

from gateway.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    Delivery,
    GatewayUnavailableError,
    OutcomeUnknownError,
    RateLimitedError,
    ServiceError,
    ServiceUnavailableError,
)
from gateway.outcome import Failure
from workers.attempt import Answer
from workers.conclusion import cancellation
from workers.execution import Execution, Hold, Proceed, Result
from workers.observation.events import AttemptEnded, AttemptHeld, AttemptStarted
from workers.outcomes import Dropped
from workers.verdict import Cancelled, Drop, Elsewhere, Go, Late, Poison, Wait

__all__ = ["PATIENCE_S", "admit", "deadline"]

#: How long an attempt waits in its worker for a limit, a place or the budget, before the call is parked.
PATIENCE_S = 0.25
#: How often a place is asked for, if no attempt of this worker gives one back.
_POLL_S = 0.1
#: A call that has less time than this left, and cannot know when it may go on, is not parked any more.
_LAST_CALL_S = 1.0


def deadline(execution: Execution, proceed: Proceed) -> Awaitable[Result]:
    """Refuse a call whose deadline passed in the queue: nobody waits for it any more.

    A message that comes a second time must not end a call that runs elsewhere or has its outcome, so the fleet is
    asked.
    """
    return proceed(execution) if execution.left_s > 0 else admit(execution, proceed)


async def admit(execution: Execution, proceed: Proceed) -> Result:
    """Ask for the call's lease, and whether its next attempt may be sent; wait for a moment if not."""
    patient_until = monotonic() + PATIENCE_S
    told = False
    while True:
        verdict = await execution.fleet.ask(execution)
        match verdict:
            case Drop(why):
                return Dropped(why)
            case Elsewhere():
                return verdict
            case Cancelled(maybe_sent, attempts):
                execution.progress.maybe_sent |= maybe_sent
                execution.progress.attempts = max(execution.progress.attempts, attempts)
                return cancellation(execution.overall(Delivery.NOT_SENT))
            case Poison():
                return _poisonous(execution, verdict)
            case Late():
                return await _resume(execution, verdict) or _late(execution, verdict)
            case Go():
                return await _send(execution, proceed, verdict)
            case Wait():
                ended = await _resume(execution, verdict)
                if ended is not None:
                    return ended
                held = _hold(execution, verdict, patience_s=patient_until - monotonic())
                if held is not None:
                    if verdict.why == "budget" and verdict.due_s is not None:
                        execution.progress.paid = verdict.number
                    return held
                if not told:
                    execution.tell(AttemptHeld(execution, verdict.why))
                    told = True
                if verdict.why == "concurrency":
                    await execution.fleet.freed(execution.service.name, _POLL_S)
                else:
                    await asyncio.sleep(verdict.estimate_s or _POLL_S)


async def _send(execution: Execution, proceed: Proceed, go: Go) -> Result:
    """Make the attempt; whatever happens, what it was let through with is given back."""
    execution.progress.paid = go.number
    execution.fleet.began(execution)
    started = monotonic()
    result: Result | None = None
    begun = False
    try:
        refused = await _resume(execution, go)
        if refused is not None:
            return refused
        execution.begin_attempt(go)
        begun = True
        execution.tell(AttemptStarted(execution))
        if go.wait_s > 0:
            await asyncio.sleep(go.wait_s)
            started = monotonic()
        result = await proceed(execution)
    finally:
        elapsed_s = monotonic() - started
        if begun:
            execution.end_attempt(result, elapsed_s)
        known = result if isinstance(result, Answer | Failure) else None
        execution.fleet.ended(execution, go, known, elapsed_s)
        if begun:
            execution.tell(AttemptEnded(execution, known, elapsed_s))
    return result


async def _resume(execution: Execution, verdict: Go | Wait | Late) -> Failure | None:
    """Take over what is known of the call's past, once. The failure of a call that may not be begun again."""
    progress = execution.progress
    past = verdict.past
    if progress.attempts or (progress.token and progress.token == verdict.token):
        progress.token = verdict.token
        return None
    progress.token = verdict.token
    progress.attempts = verdict.number - 1
    progress.free += past.free
    progress.spent_s = past.spent_s
    progress.maybe_sent |= past.maybe_sent or past.interrupted
    if not past.interrupted or await execution.idempotent():
        return None
    return Failure(
        error=OutcomeUnknownError,
        message="the worker that had it ended while an attempt was under way, and it may not be repeated",
        delivery=Delivery.MAYBE_SENT,
        repeatable=False,
    )


def _poisonous(execution: Execution, poison: Poison) -> Failure:
    """The end of a call that ended its workers; also of an idempotent one, since it would go on with the next."""
    progress = execution.progress
    progress.token = poison.token
    progress.attempts = max(progress.attempts, poison.number - 1)
    progress.maybe_sent, progress.deaths = True, poison.deaths
    return Failure(
        error=OutcomeUnknownError,
        message=f"{poison.deaths} workers ended while they executed it, and no other one may try",
        delivery=Delivery.MAYBE_SENT,
        details={"deaths": poison.deaths},
        repeatable=False,
    )


def _hold(execution: Execution, wait: Wait, *, patience_s: float) -> Hold | Failure | None:
    """What becomes of a call that may not go now; None: it waits here."""
    left = execution.left_s
    otherwise = _refused(execution, wait)
    estimate = wait.estimate_s
    if wait.why == "budget" and wait.due_s is None:
        return otherwise
    if estimate is not None and estimate >= left:
        return otherwise
    if wait.due_s is not None:
        return Hold(wait.why, wait.due_s, otherwise)
    here_s = estimate
    if wait.why == "concurrency" and execution.fleet.has_room(execution.service.name):
        here_s = _POLL_S
    if here_s is not None and here_s <= min(patience_s, left - 2 * _POLL_S):
        return None
    if estimate is None and left < _LAST_CALL_S:
        return otherwise
    return Hold(wait.why, None, otherwise)


def _refused(execution: Execution, wait: Wait) -> Failure:
    """The error of a call that cannot wait for what it waits for."""
    if wait.why == "budget" and execution.progress.last is not None:
        return replace(execution.progress.last, repeatable=False)
    return refusal(execution, wait.why, wait.estimate_s)


def refusal(execution: Execution, why: str, estimate_s: float | None) -> Failure:
    """The error of a call whose deadline comes before what it waits for."""
    name = execution.service.name
    limit = execution.policy.limit
    when = "" if estimate_s is None else f" for {estimate_s:.1f} s more"
    error: type[ServiceError]
    if why == "store":
        error = GatewayUnavailableError
        message = "the fleet's Redis does not answer, and what may not be repeated is not sent without its lease"
    elif why == "paused":
        error = ServiceUnavailableError
        message = f"calls of {name} are paused{when}, and the call's deadline comes first"
    elif why == "breaker":
        error = CircuitOpenError
        message = f"the breaker of {name} is open{when}, and the call's deadline comes first"
    else:
        error = RateLimitedError
        named = {
            "concurrency": f"all places at {name} are taken (limit.concurrency = {limit.concurrency})",
            "limit": f"the limit of {name} is reached{when}" + (f" (limit.rate = {limit.rate})" if limit.rate else ""),
            "budget": f"the retry budget of {name} is used up{when}",
            "quarantine": "workers ended while they executed it, and another such call is tried now",
        }
        message = f"{named.get(why, f'{name} is not asked now')}, and the call's deadline comes first"
    return Failure(
        error=error,
        message=message,
        delivery=execution.overall(Delivery.NOT_SENT),
        retry_after_s=estimate_s,
        repeatable=False,
    )


def _late(execution: Execution, late: Late) -> Failure:
    if late.why in ("breaker", "limit", "concurrency", "budget", "store", "paused"):
        return refusal(execution, late.why, None)
    verb = "repeat it" if execution.progress.attempts else "start it"
    return Failure(
        error=DeadlineExceededError,
        message=f"its deadline passed {-execution.left_s:.1f} s before a worker could {verb}",
        delivery=execution.overall(Delivery.NOT_SENT),
        extra={"phase": "deadline"},
        repeatable=False,
    )
