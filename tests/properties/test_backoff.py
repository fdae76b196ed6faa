"""Whatever the policy and however many failures: a wait from 0 to its bound."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import Retry
from workers.resilience.backoff import backoff_s

seconds = st.floats(min_value=1e-6, max_value=1e6)
shares = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)


@given(st.integers(min_value=0, max_value=10**12), seconds, seconds, shares)
def test_within_its_bounds(attempt: int, backoff: float, most: float, share: float) -> None:
    retry = Retry(backoff=backoff, max_backoff=most)
    bound = backoff_s(attempt, retry, lambda: 1.0)
    assert 0 < bound <= most
    assert backoff_s(attempt, retry, lambda: share) == share * bound
    assert bound == most or bound >= backoff


@given(st.integers(min_value=1, max_value=2000), seconds, seconds)
def test_each_failure_doubles_the_bound_until_it_is_the_largest(attempt: int, backoff: float, most: float) -> None:
    retry = Retry(backoff=backoff, max_backoff=most)
    before, after = (backoff_s(number, retry, lambda: 1.0) for number in (attempt, attempt + 1))
    assert after == min(most, 2 * before)
