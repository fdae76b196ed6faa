"""The bound doubles, is capped, and the wait is a random share of it."""

import pytest

from gateway.policy import Retry
from workers.resilience.backoff import backoff_s

RETRY = Retry(backoff=0.1, max_backoff=5.0)


@pytest.mark.parametrize(
    ("attempt", "bound"), [(0, 0.1), (1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (6, 3.2), (7, 5.0), (8, 5.0), (10**9, 5.0)]
)
def test_bounds(attempt: int, bound: float) -> None:
    assert backoff_s(attempt, RETRY, lambda: 1.0) == pytest.approx(bound)
    assert backoff_s(attempt, RETRY, lambda: 0.25) == pytest.approx(bound / 4)


def test_the_wait_can_be_nothing() -> None:
    assert backoff_s(3, RETRY, lambda: 0.0) == 0


def test_a_first_bound_beyond_the_largest_is_capped() -> None:
    assert backoff_s(1, Retry(backoff=9.0, max_backoff=5.0), lambda: 1.0) == 5.0


def test_bounds_far_apart_are_reached_by_doubling() -> None:
    assert backoff_s(1025, Retry(backoff=1e-300, max_backoff=1e300), lambda: 1.0) == pytest.approx(1e-300 * 2.0**1023)
    assert backoff_s(1024, Retry(backoff=1.0, max_backoff=1e300), lambda: 1.0) == 1e300
