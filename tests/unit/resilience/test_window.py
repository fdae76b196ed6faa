"""Shares over the latest seconds."""

import pytest

from gateway.policy import Breaker
from workers.resilience.window import Window

POLICY = Breaker(window=10.0, min_calls=10, failure_rate=0.5, slow_call=2.0, slow_rate=0.8)


def record(window: Window, now: float, *, good: int = 0, failed: int = 0, slow: int = 0) -> None:
    for _ in range(good):
        window.record(now, failed=False, slow=False)
    for _ in range(failed):
        window.record(now, failed=True, slow=False)
    for _ in range(slow):
        window.record(now, failed=False, slow=True)


def test_a_share_of_failures_is_a_reason() -> None:
    window = Window(POLICY)
    record(window, 100.0, good=19, failed=21)
    assert window.reason(100.0) == "52 % of 40 calls failed in 10 s"


def test_a_share_of_slow_calls_is_a_reason() -> None:
    window = Window(POLICY)
    record(window, 100.0, good=2, slow=8)
    assert window.reason(100.0) == "80 % of 10 calls in 10 s took 2 s or longer"


@pytest.mark.parametrize(("failed", "good", "too_much"), [(5, 5, True), (4, 6, False), (5, 6, False), (9, 0, False)])
def test_the_bound_counts_and_few_calls_do_not(failed: int, good: int, too_much: bool) -> None:
    window = Window(POLICY)
    record(window, 100.0, good=good, failed=failed)
    assert (window.reason(100.0) is not None) == too_much


@pytest.mark.parametrize(("slow", "good", "too_much"), [(8, 2, True), (7, 3, False), (8, 3, False), (9, 0, False)])
def test_the_same_for_slow_calls(slow: int, good: int, too_much: bool) -> None:
    window = Window(POLICY)
    record(window, 100.0, good=good, slow=slow)
    assert (window.reason(100.0) is not None) == too_much


def test_a_call_may_be_failed_and_slow() -> None:
    window = Window(Breaker(window=10.0, min_calls=10, failure_rate=None, slow_call=2.0))
    for _ in range(10):
        window.record(100.0, failed=True, slow=True)
    assert window.reason(100.0) == "100 % of 10 calls in 10 s took 2 s or longer"


def test_rules_that_are_off() -> None:
    window = Window(Breaker(min_calls=10, failure_rate=None, slow_call=None))
    record(window, 100.0, failed=20, slow=20)
    assert window.reason(100.0) is None


def test_old_calls_go() -> None:
    window = Window(POLICY)
    record(window, 100.0, failed=5)
    record(window, 105.0, failed=5)
    assert window.reason(109.99) is not None
    assert window.reason(110.0) is None
    record(window, 114.9, failed=5)
    assert window.reason(114.9) is not None
    assert window.reason(115.0) is None


def test_a_window_of_another_length() -> None:
    window = Window(Breaker(window=30.0, min_calls=10))
    record(window, 101.0, failed=10)
    assert window.reason(128.9) == "100 % of 10 calls failed in 30 s"
    assert window.reason(129.0) is None


def test_a_bucket_is_used_again_for_its_new_time_alone() -> None:
    window = Window(POLICY)
    for second in range(100, 125):
        record(window, float(second), good=1)
    record(window, 124.5, failed=10)
    assert window.reason(124.5) == "50 % of 20 calls failed in 10 s"


def test_after_a_long_silence_nothing_is_left() -> None:
    window = Window(POLICY)
    for second in range(100, 110):
        record(window, float(second), failed=5)
    record(window, 1e9, failed=9)
    assert window.reason(1e9) is None
    record(window, 1e9, failed=1)
    assert window.reason(1e9) == "100 % of 10 calls failed in 10 s"


def test_a_clock_that_goes_back_loses_nothing() -> None:
    window = Window(POLICY)
    record(window, 108.0, failed=5)
    record(window, 101.0, failed=5)
    assert window.reason(101.0) is not None
    assert window.reason(117.9) is not None
    assert window.reason(118.0) is None


def test_asking_before_anything_happened() -> None:
    assert Window(POLICY).reason(-5.0) is None


def test_reset_forgets() -> None:
    window = Window(POLICY)
    record(window, 100.0, failed=20, slow=20)
    window.reset()
    assert window.reason(100.0) is None
    record(window, 50.0, failed=10)
    assert window.reason(50.0) == "100 % of 10 calls failed in 10 s"
