"""Values of a policy that are valid one by one and cannot act together: a rule for each, one line for people."""

from collections.abc import Iterator

from gateway.policy import Policy
from gateway.visibility import STORING_S

__all__ = ["backoff_bounds_s", "collisions", "worst_case_s"]


def backoff_bounds_s(policy: Policy) -> float:
    """The longest that all waits between the attempts of a call can take together, in seconds."""
    retry = policy.retry
    waits, bound, together = retry.attempts - 1, retry.backoff, 0.0
    while waits and bound < retry.max_backoff:
        together += bound
        bound *= 2
        waits -= 1
    return together + waits * retry.max_backoff


def worst_case_s(policy: Policy) -> float:
    """The longest that all attempts and the waits between them can take, were they not bounded together, in seconds."""
    return policy.retry.attempts * policy.timeouts.attempt + backoff_bounds_s(policy)


def collisions(
    policy: Policy,
    *,
    deadline_s: float | None,
    visibility_s: float | None = None,
    idempotent: bool | None = None,
) -> Iterator[str]:
    """One line for each collision: the values, what comes of them, and the cure.

    Args:
        policy: of the call.
        deadline_s: seconds from submit until nobody waits any more; None: not known, so nothing is said of it.
        visibility_s: when the broker takes a call for lost; None: never.
        idempotent: whether the call may be repeated; None: not known here.
    """
    yield from _of_bounds(policy, deadline_s, visibility_s)
    yield from _of_repeating(policy, idempotent)
    breaker = policy.breaker
    if deadline_s is not None and breaker.enabled and breaker.reset_timeout > deadline_s:
        yield (
            f"breaker.reset_timeout of {breaker.reset_timeout:g} s is longer than the deadline of {deadline_s:g} s: a"
            " call that meets a breaker which just opened can only fail; lower `reset_timeout`, or give calls more time"
        )


def _of_bounds(policy: Policy, deadline_s: float | None, visibility_s: float | None) -> Iterator[str]:
    timeouts, attempts = policy.timeouts, policy.retry.attempts
    if attempts > 1 and worst_case_s(policy) > timeouts.total:
        yield (
            f"{attempts} attempts of {timeouts.attempt:g} s and the waits between them take up to"
            f" {worst_case_s(policy):g} s, longer than timeouts.total of {timeouts.total:g} s: the last of them are cut"
            " short or never made; raise `total`, or lower `attempt` or `attempts`"
        )
    if deadline_s is None:
        return
    if timeouts.attempt > deadline_s:
        yield (
            f"timeouts.attempt of {timeouts.attempt:g} s is longer than the deadline of {deadline_s:g} s: the deadline"
            " ends the first attempt, and there is no other; lower `attempt`, or give calls more time"
        )
    elif timeouts.total > deadline_s:
        yield (
            f"timeouts.total of {timeouts.total:g} s is longer than the deadline of {deadline_s:g} s: it never acts;"
            " lower `total`, or give calls more time"
        )
    if visibility_s is not None and deadline_s > visibility_s:
        yield (
            f"the deadline of {deadline_s:g} s is longer than the broker's visibility timeout of {visibility_s:g} s"
            f" (the longest timeouts.total and {STORING_S:g} s): a call that a worker holds for so long goes to another"
            " one too; shorten the deadline, or raise `total`"
        )


def _of_repeating(policy: Policy, idempotent: bool | None) -> Iterator[str]:
    retry, hedge = policy.retry, policy.hedge
    unpaid = retry.budget == 0 and retry.budget_per_s == 0
    if unpaid and (retry.attempts > 1 or hedge.enabled):
        yield (
            "retry.budget = 0 and retry.budget_per_s = 0 pay for no second attempt, neither a retry nor a hedge; raise"
            " one of them, or say attempts = 1"
        )
    if hedge.after is not None and hedge.after >= policy.timeouts.attempt:
        yield (
            f"hedge.after of {hedge.after:g} s is not shorter than timeouts.attempt of {policy.timeouts.attempt:g} s:"
            " the second attempt never starts; lower `after`"
        )
    if hedge.enabled and idempotent is False:
        yield (
            "hedge is on, and the call may not be repeated: there is never a second attempt; send an idempotency key,"
            " or say idempotent = true of the operation if it is"
        )
