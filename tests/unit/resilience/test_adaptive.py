"""One round of the adaptive limit; how it converges is in the property tests."""

from math import sqrt

import pytest

from gateway.policy import Limit
from workers.resilience.adaptive import Adaptive


def adaptive(most: int = 100) -> Adaptive:
    return Adaptive(Limit(concurrency=most, adaptive=True))


def feed(adaptive: Adaptive, latency_s: float, in_flight: int, *, samples: int = 20, failed: int = 0) -> None:
    for number in range(samples):
        adaptive.sample(latency_s, in_flight, number >= failed)


def based(latency_s: float = 0.1, most: int = 100) -> Adaptive:
    """Knows its base, measured at 0.0."""
    made = adaptive(most)
    feed(made, latency_s, 1)
    assert made.adjust(0.0, 50.0) is None
    return made


def test_a_round_has_ten_samples() -> None:
    made = based()
    feed(made, 0.1, 50, samples=9)
    assert made.adjust(5.0, 50.0) is None
    feed(made, 0.1, 50, samples=1)
    assert made.adjust(5.0, 50.0) == 50 + sqrt(50)


def test_a_round_has_a_second() -> None:
    made = based()
    feed(made, 0.1, 50)
    assert made.adjust(0.99, 50.0) is None
    assert made.adjust(1.0, 50.0) == 50 + sqrt(50)
    feed(made, 0.1, 50)
    assert made.adjust(1.99, 50.0) is None
    assert made.adjust(2.0, 50.0) is not None


def test_a_round_has_three_latencies() -> None:
    made = based(2.0)
    feed(made, 2.0, 50)
    assert made.adjust(5.99, 50.0) is None
    assert made.adjust(6.0, 50.0) == 50 + sqrt(50)


def test_a_limit_that_is_used_grows_by_its_root() -> None:
    made = based()
    feed(made, 0.1, 40)
    assert made.adjust(1.0, 50.0) == 50 + sqrt(50)
    feed(made, 0.1, 39)
    assert made.adjust(2.0, 50.0) is None
    feed(made, 0.1, 1)
    made.sample(0.1, 40, True)
    assert made.adjust(3.0, 50.0) == 50 + sqrt(50)


def test_the_peak_of_a_round_before_is_forgotten() -> None:
    made = based()
    feed(made, 0.1, 50)
    made.adjust(1.0, 50.0)
    feed(made, 0.1, 1)
    assert made.adjust(2.0, 50.0) is None


def test_part_of_an_attempt_cannot_be_used() -> None:
    made = based()
    feed(made, 0.1, 1)
    assert made.adjust(1.0, 1.9) == 1.9 + sqrt(1.9)


def test_it_stays_in_its_bounds() -> None:
    made = based(most=55)
    feed(made, 0.1, 50)
    assert made.adjust(1.0, 50.0) == 55
    feed(made, 0.1, 55)
    assert made.adjust(2.0, 55.0) is None
    feed(made, 0.1, 1, failed=20)
    assert made.adjust(3.0, 1.2) == 1
    feed(made, 0.1, 1, failed=20)
    assert made.adjust(4.0, 1.0) is None
    feed(made, 0.1, 1)
    assert made.adjust(5.0, 400.0) == 55


def test_latency_over_its_base_lowers_it_to_what_the_service_bears() -> None:
    made = based(0.1)
    feed(made, 0.16, 50)
    assert made.adjust(1.0, 50.0) == pytest.approx(50 * 0.1 / 0.16 * 0.9)


def test_not_below_half_at_once() -> None:
    made = based(0.1)
    feed(made, 1.0, 50)
    assert made.adjust(1.0, 50.0) == 25


def test_latency_within_tolerance_does_not() -> None:
    made = based(1.0)
    feed(made, 1.5, 50)
    assert made.adjust(3.0, 50.0) == 50 + sqrt(50)


def test_what_is_in_flight_counts_but_not_beyond_the_limit() -> None:
    made = based(0.1)
    feed(made, 0.16, 50)
    assert made.adjust(1.0, 80.0) == 40
    made = based(0.1)
    feed(made, 0.16, 50)
    assert made.adjust(1.0, 50.0) == pytest.approx(28.125)
    made = based(0.1)
    feed(made, 0.16, 90)
    assert made.adjust(1.0, 50.0) == pytest.approx(28.125)


def test_the_median_counts() -> None:
    made = based(0.1)
    feed(made, 9.0, 50, samples=9)
    feed(made, 0.1, 50, samples=10)
    assert made.adjust(1.0, 50.0) == 50 + sqrt(50)


def test_only_the_latest_latencies_of_a_round_count() -> None:
    made = based(0.1)
    feed(made, 9.0, 50, samples=1000)
    feed(made, 0.1, 50, samples=500)
    assert made.adjust(1.0, 50.0) == 50 + sqrt(50)


@pytest.mark.parametrize(("failed", "wanted"), [(2, 37.5), (20, 37.5), (1, 50 + sqrt(50))])
def test_failures_lower_it(failed: int, wanted: float) -> None:
    made = based()
    feed(made, 0.1, 50, failed=failed)
    assert made.adjust(1.0, 50.0) == wanted


def test_how_long_a_failure_took_says_nothing() -> None:
    made = based(0.1)
    feed(made, 0.001, 50, failed=20)
    made.adjust(1.0, 50.0)
    feed(made, 0.1, 50)
    assert made.adjust(2.0, 50.0) == 50 + sqrt(50)


def test_a_new_base_is_tried_with_half_the_limit() -> None:
    made = adaptive()
    feed(made, 1.0, 50)
    assert made.adjust(0.0, 50.0) == 25
    feed(made, 0.5, 25)
    assert made.adjust(3.0, 25.0) == 30  # there was a queue
    feed(made, 0.5, 30)
    assert made.adjust(6.0, 30.0) == 30 + sqrt(30)


def test_fewer_that_are_no_faster_are_a_new_base() -> None:
    made = based(0.1)
    feed(made, 0.4, 50)
    assert made.adjust(1.0, 50.0) == 25
    feed(made, 0.4, 25)
    assert made.adjust(3.0, 25.0) == 12.5  # the base is new, and tried
    feed(made, 0.4, 12)
    assert made.adjust(5.0, 12.5) == 12.5 + sqrt(12.5)


@pytest.mark.parametrize(
    ("latency_s", "in_flight", "base_ms"),
    [
        (9.0, 25, 1000),  # it was faster
        (10.0, 41, 1000),  # it was not fewer
        (9.01, 25, 9010),
        (10.0, 40, 10000),
    ],
)
def test_a_queue_is_no_base(latency_s: float, in_flight: int, base_ms: int) -> None:
    made = based(1.0)
    feed(made, 10.0, 50)
    assert made.adjust(3.0, 50.0) == 25
    feed(made, latency_s, in_flight)
    made.adjust(33.0, 50.0)
    assert repr(made) == f"<Adaptive base {base_ms}.0 ms, 0 samples in this round>"


@pytest.mark.parametrize("between", ["failures", "no queue"])
def test_only_the_round_before_is_compared_with(between: str) -> None:
    made = based(0.1)
    feed(made, 0.4, 50)
    made.adjust(1.0, 50.0)
    feed(made, 0.1, 50, failed=20 if between == "failures" else 0)
    made.adjust(3.0, 50.0)
    feed(made, 0.4, 10)
    made.adjust(5.0, 50.0)
    assert repr(made) == "<Adaptive base 100.0 ms, 0 samples in this round>"


def test_one_at_a_time_does_not_queue() -> None:
    made = based(0.1)
    feed(made, 0.4, 1)
    assert made.adjust(1.0, 1.0) is None
    feed(made, 0.4, 1)
    assert made.adjust(3.0, 1.0) is None  # a new base, and half of one is one
    feed(made, 0.4, 1)
    assert made.adjust(5.0, 1.0) == 2


def test_two_at_a_time_may_queue() -> None:
    made = based(0.1)
    for now in (1.0, 3.0):
        feed(made, 0.4, 2)
        assert made.adjust(now, 2.0) == 1
    assert repr(made) == "<Adaptive base 100.0 ms, 0 samples in this round>"


def test_a_base_is_forgotten_after_sixty_rounds() -> None:
    made = based(0.1)
    for second in range(1, 60):
        feed(made, 0.14, 1)
        made.adjust(float(second), 50.0)
    assert repr(made) == "<Adaptive base 100.0 ms, 0 samples in this round>"
    feed(made, 0.14, 1)
    made.adjust(60.0, 50.0)
    assert repr(made) == "<Adaptive base 140.0 ms, 0 samples in this round>"


def test_repr() -> None:
    made = adaptive()
    assert repr(made) == "<Adaptive base unknown, 0 samples in this round>"
    made.sample(0.1, 1, False)
    assert repr(made) == "<Adaptive base unknown, 1 samples in this round>"
