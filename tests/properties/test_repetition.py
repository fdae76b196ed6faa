"""What may never happen, whatever a failure says."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.errors import Delivery
from gateway.outcome import Failure
from gateway.policy import GRPC_CODES, Retry
from workers.resilience.repetition import decide, depends_on_idempotency

statuses = st.integers(min_value=400, max_value=599) | st.sampled_from(sorted(GRPC_CODES))
failures = st.builds(
    Failure,
    error=st.sampled_from([errors.ServiceUnavailableError, errors.ServiceTimeoutError, errors.ServiceRejectedError]),
    message=st.just("no"),
    delivery=st.sampled_from(Delivery),
    status=st.none() | st.integers(min_value=100, max_value=599) | statuses,
    retry_after_s=st.none() | st.floats(min_value=0, max_value=1e4),
    repeatable=st.booleans(),
    incomplete=st.booleans(),
)
retries = st.builds(
    Retry,
    attempts=st.integers(min_value=1, max_value=5),
    statuses=st.lists(statuses, max_size=4).map(tuple),
    refused=st.lists(statuses, max_size=4).map(tuple),
)
asked = {
    "failure": failures,
    "counted": st.integers(min_value=0, max_value=6),
    "retry": retries,
    "share": st.floats(min_value=0, max_value=1, exclude_max=True),
}


def both(failure: Failure, counted: int, retry: Retry, share: float) -> tuple[Any, Any]:
    """What follows when the call is idempotent, and when it is not."""
    idempotent, not_idempotent = (
        decide(failure, counted=counted, idempotent=idempotent, retry=retry, random=lambda: share)
        for idempotent in (True, False)
    )
    return idempotent, not_idempotent


@given(**asked)
def test_being_idempotent_never_hurts_and_matters_only_where_it_is_said_to(
    failure: Failure, counted: int, retry: Retry, share: float
) -> None:
    idempotent, not_idempotent = both(failure, counted, retry, share)
    if not_idempotent is not None:
        assert idempotent == not_idempotent
    assert depends_on_idempotency(failure, counted=counted, retry=retry) == (idempotent != not_idempotent)


@given(**asked)
def test_what_may_have_been_sent_is_not_repeated_unless_it_is_idempotent(
    failure: Failure, counted: int, retry: Retry, share: float
) -> None:
    _, not_idempotent = both(failure, counted, retry, share)
    if not_idempotent is not None and failure.delivery is not Delivery.NOT_SENT:
        assert failure.delivery is Delivery.ANSWERED
        assert not failure.incomplete
        assert failure.status in retry.refused or (failure.status == 503 and failure.retry_after_s is not None)


@given(**asked)
def test_no_more_attempts_than_allowed_and_none_that_is_in_vain(
    failure: Failure, counted: int, retry: Retry, share: float
) -> None:
    idempotent, _ = both(failure, counted, retry, share)
    if idempotent is not None:
        assert counted < retry.attempts
        assert failure.repeatable
    elif failure.delivery is not Delivery.ANSWERED:
        assert counted >= retry.attempts or not failure.repeatable


@given(**asked)
def test_never_before_the_service_asked_for(failure: Failure, counted: int, retry: Retry, share: float) -> None:
    asked_for = failure.retry_after_s or 0.0
    for again in both(failure, counted, retry, share):
        if again is not None:
            assert asked_for <= again.after_s <= asked_for + retry.max_backoff
