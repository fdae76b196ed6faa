"""What is repeated, as one table."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import (
    Delivery,
    InvalidReplyError,
    RateLimitedError,
    ServiceFaultError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.outcome import Failure
from gateway.policy import Retry
from workers.resilience.repetition import Again, decide, depends_on_idempotency, did_nothing

RETRY = Retry(attempts=3, backoff=0.1, max_backoff=5.0)


def failure(delivery: Delivery, **fields: Any) -> Failure:
    return Failure(error=ServiceUnavailableError, message="no", delivery=delivery, **fields)


def again(failed: Failure, *, counted: int = 1, idempotent: bool = True, retry: Retry = RETRY) -> Again | None:
    return decide(failed, counted=counted, idempotent=idempotent, retry=retry, random=lambda: 1.0)


ALWAYS, IF_IDEMPOTENT, NEVER = "always", "if idempotent", "never"


@pytest.mark.parametrize(
    ("failed", "repeated"),
    [
        (failure(Delivery.NOT_SENT), ALWAYS),
        (failure(Delivery.NOT_SENT, repeatable=False), NEVER),
        (failure(Delivery.NOT_SENT, incomplete=True), ALWAYS),
        (failure(Delivery.MAYBE_SENT), IF_IDEMPOTENT),
        (failure(Delivery.MAYBE_SENT, repeatable=False), NEVER),
        (failure(Delivery.MAYBE_SENT, retry_after_s=1.0), IF_IDEMPOTENT),
        (failure(Delivery.ANSWERED, status=400), NEVER),
        (failure(Delivery.ANSWERED, status=500), NEVER),
        (failure(Delivery.ANSWERED, status=500, retry_after_s=1.0), NEVER),
        (failure(Delivery.ANSWERED), NEVER),
        (failure(Delivery.ANSWERED, status=200, incomplete=True), IF_IDEMPOTENT),
        (failure(Delivery.ANSWERED, status=429, incomplete=True), IF_IDEMPOTENT),
        (failure(Delivery.ANSWERED, status=200, incomplete=True, repeatable=False), NEVER),
        (failure(Delivery.ANSWERED, status=408), ALWAYS),
        (failure(Delivery.ANSWERED, status=425), ALWAYS),
        (failure(Delivery.ANSWERED, status=429), ALWAYS),
        (failure(Delivery.ANSWERED, status=429, repeatable=False), NEVER),
        (failure(Delivery.ANSWERED, status="RESOURCE_EXHAUSTED"), ALWAYS),
        (failure(Delivery.ANSWERED, status="UNAVAILABLE"), IF_IDEMPOTENT),
        (failure(Delivery.ANSWERED, status="UNAVAILABLE", retry_after_s=1.0), IF_IDEMPOTENT),
        (failure(Delivery.ANSWERED, status="INTERNAL"), NEVER),
        (failure(Delivery.ANSWERED, status=502), IF_IDEMPOTENT),
        (failure(Delivery.ANSWERED, status=502, retry_after_s=1.0), IF_IDEMPOTENT),
        (failure(Delivery.ANSWERED, status=503), IF_IDEMPOTENT),
        (failure(Delivery.ANSWERED, status=503, retry_after_s=1.0), ALWAYS),
        (failure(Delivery.ANSWERED, status=503, retry_after_s=0.0), ALWAYS),
        (failure(Delivery.ANSWERED, status=504), IF_IDEMPOTENT),
    ],
    ids=repr,
)
def test_what_is_repeated(failed: Failure, repeated: str) -> None:
    assert (again(failed, idempotent=True) is not None) == (repeated != NEVER)
    assert (again(failed, idempotent=False) is not None) == (repeated == ALWAYS)
    assert depends_on_idempotency(failed, counted=1, retry=RETRY) == (repeated == IF_IDEMPOTENT)


@pytest.mark.parametrize(
    "error",
    [ServiceTimeoutError, ServiceRejectedError, ServiceFaultError, InvalidReplyError, RateLimitedError],
)
def test_the_class_of_the_error_plays_no_part(error: Any) -> None:
    for delivery in Delivery:
        for status in (400, 429, 500, 503):
            failed = failure(delivery, status=status)
            for idempotent in (True, False):
                assert again(replace(failed, error=error), idempotent=idempotent) == again(
                    failed, idempotent=idempotent
                )


def test_a_status_that_only_refuses_is_repeated_for_idempotent_calls_too() -> None:
    retry = Retry(statuses=(), refused=(409,))
    assert again(failure(Delivery.ANSWERED, status=409), idempotent=True, retry=retry)


def test_attempts_are_counted() -> None:
    failed = failure(Delivery.MAYBE_SENT)
    for counted in (0, 1, 2):
        assert again(failed, counted=counted)
        assert depends_on_idempotency(failed, counted=counted, retry=RETRY)
    for counted in (3, 4):
        assert again(failed, counted=counted) is None
        assert not depends_on_idempotency(failed, counted=counted, retry=RETRY)


def test_one_attempt_is_no_retry() -> None:
    assert again(failure(Delivery.NOT_SENT), retry=Retry(attempts=1)) is None


def test_the_wait_grows_with_attempts_that_count() -> None:
    failed = failure(Delivery.NOT_SENT)
    assert again(failed, counted=0) == Again(0.1)
    assert again(failed, counted=1) == Again(0.1)
    assert again(failed, counted=2) == Again(0.2)


def test_the_jitter_comes_on_top_of_what_the_service_asked_for() -> None:
    failed = failure(Delivery.ANSWERED, status=503, retry_after_s=2.0)
    assert again(failed) == Again(2.1)
    assert decide(failed, counted=1, idempotent=False, retry=RETRY, random=lambda: 0.0) == Again(2.0)
    assert again(failure(Delivery.NOT_SENT, retry_after_s=-7.0)) == Again(0.1)
    assert again(failure(Delivery.NOT_SENT, retry_after_s=0.5)) == Again(0.6)


@pytest.mark.parametrize(
    ("delivery", "status", "more", "nothing"),
    [
        (Delivery.ANSWERED, 429, {}, True),
        (Delivery.ANSWERED, "RESOURCE_EXHAUSTED", {}, True),
        (Delivery.ANSWERED, 503, {"retry_after_s": 0.0}, True),
        (Delivery.ANSWERED, 503, {}, False),
        (Delivery.ANSWERED, 504, {"retry_after_s": 1.0}, False),
        # What broke off, or has no answer, says nothing of the kind.
        (Delivery.ANSWERED, 429, {"incomplete": True}, False),
        (Delivery.MAYBE_SENT, 429, {}, False),
        (Delivery.NOT_SENT, 429, {}, False),
    ],
)
def test_a_service_says_that_it_did_nothing(
    delivery: Delivery, status: int | str, more: dict[str, Any], nothing: bool
) -> None:
    assert did_nothing(failure(delivery, status=status, **more), Retry()) is nothing
