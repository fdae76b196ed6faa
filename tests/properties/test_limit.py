"""In any time never more slots than the burst and the rate allow; and never fewer without need."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import Limit
from workers.resilience.limit import Penalty, RateLimit

steps = st.lists(st.floats(min_value=0, max_value=0.5), min_size=1, max_size=80)


@given(
    st.integers(min_value=1, max_value=50),
    st.integers(min_value=1, max_value=5),
    steps,
    st.floats(min_value=0, max_value=2),
)
def test_a_rate_is_exact(rate: int, burst: int, steps: list[float], patience_s: float) -> None:
    limit = RateLimit(Limit(rate=f"{rate}/s", burst=burst))
    now = 1000.0
    slots: list[float] = []
    for step in steps:
        now += step
        wait = limit.take(now, patience_s)
        if wait is None:
            assert limit.wait_s(now) > patience_s
        else:
            assert 0 <= wait <= patience_s
            slots.append(now + wait)
    assert slots == sorted(slots)
    for first, begin in enumerate(slots):
        for last in range(first, len(slots)):
            # Any time that begins and ends with a slot; 1e-6 is what floats may round away.
            assert last - first + 1 <= burst + (slots[last] - begin) * rate + 1e-6


@given(st.integers(min_value=1, max_value=50), st.integers(min_value=1, max_value=5))
def test_a_rate_is_used_up(rate: int, burst: int) -> None:
    limit = RateLimit(Limit(rate=f"{rate}/s", burst=burst))
    taken = 0
    while limit.take(1000.0, 1.0 - 1e-6) is not None:
        taken += 1
    assert taken == rate + burst - 1


@given(
    st.lists(
        st.tuples(
            st.floats(min_value=0, max_value=60),
            st.sampled_from(["refused", "good"]),
            st.none() | st.floats(min_value=0, max_value=60),
        )
    )
)
def test_a_block_never_ends_earlier_and_never_lasts_longer_than_it_may(
    events: list[tuple[float, str, float | None]],
) -> None:
    penalty = Penalty()
    now = 1000.0
    for passed, event, retry_after_s in events:
        now += passed
        before = penalty.blocked_until
        if event == "good":
            penalty.forgive(now)
            assert penalty.blocked_until == before
        else:
            penalty.learn(now, retry_after_s)
            assert penalty.blocked_until >= before
            assert penalty.blocked_until >= now + (retry_after_s or 0.0)
            assert penalty.blocked_until <= max(before, now + max(30.0, retry_after_s or 0.0))
        assert penalty.penalty_s == 0 or 0.5 <= penalty.penalty_s <= 30
