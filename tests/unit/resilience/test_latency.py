"""Percentiles of the latest latencies."""

import pytest

from workers.resilience.latency import Latencies


def known(*seconds: float, kept: int | None = None) -> Latencies:
    latencies = Latencies() if kept is None else Latencies(kept)
    for value in seconds:
        latencies.record("a", value)
    return latencies


def test_fewer_than_twenty_are_no_percentile() -> None:
    latencies = known(*range(19))
    assert latencies.percentile("a", 50) is None
    latencies.record("a", 19)
    assert latencies.percentile("a", 50) == 9


def test_an_unknown_operation_has_none() -> None:
    assert known(*range(20)).percentile("b", 50) is None


@pytest.mark.parametrize(("percentile", "expected"), [(50, 50), (95, 95), (99, 99), (99.5, 100), (100, 100), (1, 1)])
def test_nearest_rank(percentile: float, expected: float) -> None:
    assert known(*range(100, 0, -1)).percentile("a", percentile) == expected


def test_only_the_latest_are_kept() -> None:
    latencies = known(*[9.0] * 100, *[1.0] * 30, kept=30)
    assert latencies.percentile("a", 100) == 1.0
    default = known(*[9.0] * 100, *[1.0] * 200)
    assert default.percentile("a", 100) == 1.0
    assert known(9.0, *[1.0] * 199).percentile("a", 100) == 9.0
    assert known(9.0, *[1.0] * 200).percentile("a", 100) == 1.0


def test_they_are_sorted_again_after_twenty_more() -> None:
    latencies = known(*[1.0] * 20)
    assert latencies.percentile("a", 100) == 1.0
    for _ in range(19):
        latencies.record("a", 9.0)
        assert latencies.percentile("a", 100) == 1.0
    latencies.record("a", 9.0)
    assert latencies.percentile("a", 100) == 9.0
    for _ in range(19):
        latencies.record("a", 20.0)
        assert latencies.percentile("a", 100) == 9.0
    latencies.record("a", 20.0)
    assert latencies.percentile("a", 100) == 20.0


def test_operations_are_apart() -> None:
    latencies = known(*[1.0] * 20)
    for _ in range(20):
        latencies.record("b", 2.0)
    assert (latencies.percentile("a", 50), latencies.percentile("b", 50)) == (1.0, 2.0)


def test_the_operation_that_is_not_used_is_forgotten() -> None:
    latencies = Latencies(operations=3)
    for key in "abc":
        for _ in range(20):
            latencies.record(key, 1.0)
    assert latencies.percentile("a", 50) == 1.0  # which uses it
    latencies.record("b", 1.0)
    latencies.record("d", 1.0)
    assert len(latencies) == 3
    assert [latencies.percentile(key, 50) for key in "abc"] == [1.0, 1.0, None]


def test_a_thousand_operations_by_default() -> None:
    latencies = Latencies()
    for number in range(1002):
        latencies.record(f"GET /{number}", 1.0)
    assert len(latencies) == 1000
