"""The window against a list of all calls."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import Breaker
from workers.resilience.window import Window

POLICY = Breaker(window=10.0, min_calls=1, failure_rate=1e-9, slow_call=1.0, slow_rate=1e-9)
calls = st.lists(st.tuples(st.integers(min_value=0, max_value=150), st.booleans(), st.booleans()), max_size=60)


@given(calls)
def test_it_counts_what_ended_within_its_seconds_and_nothing_older(calls: list[tuple[int, bool, bool]]) -> None:
    window = Window(POLICY)
    ended: list[tuple[int, bool, bool]] = []
    now = 0
    for passed, failed, slow in calls:
        now += passed  # tenths of a second, so that all buckets and all of their edges are met
        window.record(now / 10, failed=failed, slow=slow)
        ended.append((now // 10, failed, slow))
        latest = [call for call in ended if call[0] > now // 10 - 10]
        share = sum(failed for _, failed, _ in latest) / len(latest)
        slow_share = sum(slow for *_, slow in latest) / len(latest)
        reason = window.reason(now / 10)
        if share:
            assert reason == f"{share:.0%}".replace("%", " %") + f" of {len(latest)} calls failed in 10 s"
        elif slow_share:
            assert reason is not None
            assert reason.startswith(f"{slow_share:.0%}".replace("%", " %") + f" of {len(latest)} calls in 10 s took")
        else:
            assert reason is None
