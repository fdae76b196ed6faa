"""The limit finds what a simulated service bears, whatever that is and wherever it starts."""

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy import Limit
from workers.resilience.adaptive import Adaptive


def simulate(
    seconds: int,
    *,
    capacity: Callable[[float], int],
    base_s: Callable[[float], float] = lambda _: 0.05,
    start: float = 50.0,
    demand: int = 1000,
    down: Callable[[float], bool] = lambda _: False,
    seed: int = 1,
) -> list[float]:
    """The limit at the end of each second, for callers that always have `demand` calls to make.

    The service works at `capacity` calls at once. More of them share it, so each takes longer in proportion.
    """
    noise = random.Random(seed)
    adaptive = Adaptive(Limit(concurrency=100, adaptive=True))
    limit, now, limits = start, 0.0, list[float]()
    wire: list[tuple[float, float, bool]] = []
    while len(limits) < seconds:
        while len(wire) < min(int(limit), demand):
            crowd = max(1.0, (len(wire) + 1) / capacity(now))
            latency = base_s(now) * crowd * noise.lognormvariate(0, 0.2)
            heapq.heappush(wire, (now + latency, latency, not down(now)))
        ended, latency, ok = wire[0]
        while ended >= len(limits) + 1:
            limits.append(limit)
        now = ended
        adaptive.sample(latency, len(wire), ok)
        heapq.heappop(wire)
        limit = adaptive.adjust(now, limit) or limit
        assert 1 <= limit <= 100
    return limits[:seconds]


def mean(limits: list[float]) -> float:
    return sum(limits) / len(limits)


@settings(max_examples=15, deadline=None)
@given(st.integers(min_value=4, max_value=60), st.floats(min_value=1, max_value=100), st.integers(0, 1000))
def test_it_finds_what_the_service_bears(capacity: int, start: float, seed: int) -> None:
    limits = simulate(90, capacity=lambda _: capacity, start=start, seed=seed)[40:]
    assert 0.8 * capacity <= mean(limits) <= 1.7 * capacity + 2
    assert max(limits) <= 2.5 * capacity + 5


def test_it_follows_a_service_that_bears_less_and_then_more() -> None:
    limits = simulate(120, capacity=lambda now: 5 if 40 <= now < 80 else 20)
    assert 15 <= mean(limits[20:40]) <= 30
    assert 4 <= mean(limits[50:80]) <= 9
    assert 15 <= mean(limits[100:]) <= 30


def test_a_service_that_is_slower_for_another_reason_is_not_starved() -> None:
    limits = simulate(120, capacity=lambda _: 20, base_s=lambda now: 0.05 if now < 40 else 0.2)
    assert mean(limits[60:]) >= 15


def test_it_falls_while_the_service_is_down_and_recovers() -> None:
    limits = simulate(90, capacity=lambda _: 20, down=lambda now: 30 <= now < 45)
    assert limits[44] == 1
    assert 15 <= mean(limits[65:]) <= 30


def test_it_grows_to_the_most_where_nothing_queues() -> None:
    assert simulate(40, capacity=lambda _: 1000, start=10.0)[-1] == 100


@pytest.mark.parametrize("demand", [3, 7])
def test_it_does_not_grow_while_it_is_not_used(demand: int) -> None:
    limits = simulate(40, capacity=lambda _: 1000, start=10.0, demand=demand)
    assert limits[-1] <= 10
