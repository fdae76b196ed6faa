"""What the breaker counts as good, as bad, and not at all."""

from typing import Any

import pytest

from gateway import errors
from gateway.errors import Delivery, ServiceError
from gateway.outcome import Failure
from workers.attempt import Answer
from workers.resilience.health import Health, health_of


def health(error: type[ServiceError], *, cut_short: bool = False, **extra: Any) -> Health:
    return health_of(Failure(error=error, message="no", delivery=Delivery.MAYBE_SENT, extra=extra), cut_short=cut_short)


EXPECTED = {
    errors.ServiceUnavailableError: Health.BAD,
    errors.CircuitOpenError: Health.NEUTRAL,
    errors.RateLimitedError: Health.GOOD,
    errors.ServiceTimeoutError: Health.BAD,
    errors.DeadlineExceededError: Health.BAD,
    errors.ServiceRejectedError: Health.GOOD,
    errors.ServiceAuthError: Health.GOOD,
    errors.GraphQLError: Health.GOOD,
    errors.ServiceFaultError: Health.BAD,
    errors.InvalidReplyError: Health.BAD,
    errors.OutcomeUnknownError: Health.NEUTRAL,
    errors.CallRejectedError: Health.NEUTRAL,
    errors.CallCancelledError: Health.NEUTRAL,
    errors.GatewayUnavailableError: Health.NEUTRAL,
    errors.QueueFullError: Health.NEUTRAL,
    errors.GatewayFaultError: Health.NEUTRAL,
    errors.InvalidCallError: Health.NEUTRAL,
    errors.UnknownServiceError: Health.NEUTRAL,
    errors.ServiceError: Health.NEUTRAL,
}
TIMEOUTS = (errors.ServiceTimeoutError, errors.DeadlineExceededError)


def test_every_error_has_its_row() -> None:
    def kinds(kind: type[ServiceError]) -> set[type[ServiceError]]:
        return {kind}.union(*(kinds(child) for child in kind.__subclasses__()))

    assert {kind for kind in kinds(ServiceError) if kind.__module__ == errors.__name__} == set(EXPECTED)


@pytest.mark.parametrize(("error", "expected"), EXPECTED.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_errors(error: type[ServiceError], expected: Health) -> None:
    assert health(error) is expected
    if error not in TIMEOUTS:
        assert health(error, cut_short=True) is expected
        assert health(error, phase="pool") is expected


@pytest.mark.parametrize("phase", ["connect", "read", "attempt", "total"])
def test_a_timeout_is_bad_unless_the_caller_cut_it_short(phase: str) -> None:
    assert health(errors.ServiceTimeoutError, phase=phase) is Health.BAD
    assert health(errors.ServiceTimeoutError, phase=phase, cut_short=True) is Health.NEUTRAL


def test_our_own_pool_is_not_the_service() -> None:
    assert health(errors.ServiceTimeoutError, phase="pool") is Health.NEUTRAL
    assert health(errors.DeadlineExceededError, phase="deadline", cut_short=True) is Health.NEUTRAL


@pytest.mark.parametrize("cut_short", [True, False])
def test_an_answer_is_good(cut_short: bool) -> None:
    answer = Answer(status=200, headers={}, data=None)
    assert health_of(answer, cut_short=cut_short) is Health.GOOD
