"""Whether a failed attempt is repeated, and when.

Decided from what the failure says about delivery and from the call's idempotency. The class of its error plays no part:
a refused connection and a reset one are both "unavailable", and only one of them may have charged a card.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from gateway.errors import Delivery
from gateway.outcome import Failure
from gateway.policy import Retry
from workers.resilience.backoff import backoff_s

__all__ = ["Again", "decide", "depends_on_idempotency", "did_nothing"]

_SERVICE_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Again:
    """The attempt is repeated.

    Attributes:
        after_s: seconds from now; not before.
    """

    after_s: float


class _Answer(Enum):
    NEVER = auto()
    IF_IDEMPOTENT = auto()
    ALWAYS = auto()


def decide(
    failure: Failure, *, counted: int, idempotent: bool, retry: Retry, random: Callable[[], float]
) -> Again | None:
    """What follows on a failed attempt: another one, or None when the failure is final.

    Args:
        failure: how the attempt ended.
        counted: attempts of this call that count so far, this one included. Failed probes do not.
        idempotent: whether the call may be executed twice.
        retry: the service's policy.
        random: a number from 0 to below 1, see `backoff_s`.
    """
    answer = _answer(failure, counted, retry)
    if answer is _Answer.NEVER or (answer is _Answer.IF_IDEMPOTENT and not idempotent):
        return None
    # The jitter comes on top of what the service asked for: all that it told the same would come back at once.
    return Again(max(0.0, failure.retry_after_s or 0.0) + backoff_s(counted, retry, random))


def depends_on_idempotency(failure: Failure, *, counted: int, retry: Retry) -> bool:
    """Whether `decide` needs to know if the call is idempotent, which may take a question over the network."""
    return _answer(failure, counted, retry) is _Answer.IF_IDEMPOTENT


def did_nothing(failure: Failure, retry: Retry) -> bool:
    """Whether the service says by its answer that it did not act on the attempt, so that any call may be repeated."""
    if failure.delivery is not Delivery.ANSWERED or failure.incomplete:
        return False
    # RFC 9110, section 10.2.3: how long the service expects to be unavailable to the client, so it did nothing.
    unavailable = failure.status == _SERVICE_UNAVAILABLE and failure.retry_after_s is not None
    return unavailable or failure.status in retry.refused


def _answer(failure: Failure, counted: int, retry: Retry) -> _Answer:
    if not failure.repeatable or counted >= retry.attempts:
        return _Answer.NEVER
    if failure.delivery is Delivery.NOT_SENT:
        return _Answer.ALWAYS
    if failure.delivery is Delivery.MAYBE_SENT or failure.incomplete:
        return _Answer.IF_IDEMPOTENT
    if did_nothing(failure, retry):
        return _Answer.ALWAYS
    if failure.status in retry.statuses:
        return _Answer.IF_IDEMPOTENT
    return _Answer.NEVER
