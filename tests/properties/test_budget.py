"""Retries never cost more than their share of the calls and the constant."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import Retry
from workers.resilience.budget import Budget

events = st.lists(st.tuples(st.floats(min_value=0, max_value=3), st.booleans()), max_size=120)


@given(
    st.floats(min_value=0, max_value=1),
    st.floats(min_value=0, max_value=20),
    events,
    st.floats(min_value=0, max_value=5),
)
def test_never_more_than_was_paid_in(
    share: float, per_s: float, events: list[tuple[float, bool]], patience_s: float
) -> None:
    budget = Budget(Retry(budget=share, budget_per_s=per_s))
    begin = now = 1000.0
    calls = 0
    uses: list[float] = []
    for passed, is_call in events:
        now += passed
        if is_call:
            budget.deposit(now)
            calls += 1
        else:
            wait = budget.withdraw(now, patience_s)
            if wait is not None:
                assert 0 <= wait <= patience_s
                uses.append(now + wait)
        assert budget.tokens <= 100
        # When all that was promised may be used, it has been paid in.
        latest = max([now, *uses])
        assert len(uses) <= per_s + calls * share + (latest - begin) * per_s + 1e-6


@given(st.integers(min_value=0, max_value=100), st.integers(min_value=0, max_value=200))
def test_a_share_of_the_calls_is_all_there_is_without_a_constant(calls: int, wanted: int) -> None:
    budget = Budget(Retry(budget=0.25, budget_per_s=0.0))
    for _ in range(calls):
        budget.deposit(0.0)
    granted = sum(budget.withdraw(1e6, 1e6) is not None for _ in range(wanted))
    assert granted == min(wanted, calls // 4)
