"""The gate of parking, decided by the script itself on a real server, with a clock of the test's own."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dev.valkey import Valkey
from gateway.fleet_keys import breaker, inflight, limit, probes, ramp
from tests.integration.parking_scripts import NOW, A, Lot, many


@pytest.fixture
def lot(valkey: Valkey) -> Iterator[Lot]:
    with redis.Redis.from_url(valkey.url(5), decode_responses=True) as client:
        client.flushdb()
        yield Lot(client)


# -- breaker -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "goes"),
    [
        ({}, 5),
        ({"phase": "closed"}, 5),
        ({"phase": "open", "until": NOW + 0.1, "granted": 0}, 0),
        ({"phase": "open", "until": "inf", "granted": 0}, 0),
        ({"phase": "open", "until": NOW - 0.1, "granted": 0}, 2),
        ({"phase": "open", "until": NOW - 0.1, "granted": 2}, 2),
        ({"phase": "half-open", "until": NOW - 0.1, "granted": 0}, 2),
        ({"phase": "half-open", "until": NOW - 0.1, "granted": 1}, 1),
        ({"phase": "half-open", "until": NOW - 0.1, "granted": 2}, 0),
    ],
)
def test_the_breaker_decides_how_many_go(lot: Lot, state: dict[str, Any], goes: int) -> None:
    lot.park(*many(5), now=NOW - 1)
    if state:
        lot.redis.hset(breaker(A), mapping=state)
    assert len(lot.ids()) == goes
    lot.redis.flushdb()
    lot.park(*many(5), now=NOW - 1)
    if state:
        lot.redis.hset(breaker(A), mapping=state)
    assert len(lot.ids(breaker=False)) == 5


def test_probes_on_their_way_are_not_released_twice(lot: Lot) -> None:
    lot.park(*many(20), now=NOW - 1)
    lot.breaker("open", until=NOW)
    assert len(lot.go(NOW)) == 2
    assert lot.go(NOW + 0.1) == []
    # The first one has arrived at the service; the second is still on its way.
    lot.breaker("half-open", granted=1)
    assert lot.go(NOW + 0.5) == []
    # It never arrived.
    assert len(lot.go(NOW + 1.1)) == 1
    assert lot.go(NOW + 1.5) == []


def test_probes_whose_worker_died_give_their_places_back(lot: Lot) -> None:
    lot.park(*many(5), now=NOW - 1)
    lot.breaker("half-open", granted=2)
    lot.redis.zadd(probes(A), {"x#1": NOW - 0.1, "y#1": NOW + 5})
    assert len(lot.ids()) == 1


# -- the service's limits ----------------------------------------------------------------------------------------------


def test_a_block_that_the_service_asked_for_holds_all(lot: Lot) -> None:
    lot.park("a")
    lot.redis.hset(limit(A), "blocked_until", NOW + 2)
    assert lot.ids(NOW + 1.9) == []
    assert lot.ids(NOW + 2.1) == ["a"]


@pytest.mark.parametrize(
    ("running", "dead", "adaptive", "found", "goes"),
    [
        (0, 0, False, None, 10),
        (7, 3, False, None, 3),
        (12, 0, False, None, 0),
        (2, 0, True, 5.7, 3),
        (2, 0, False, 5.7, 8),
        (0, 0, True, 0.2, 1),
        (0, 0, True, 50, 10),
        (0, 0, True, None, 10),
    ],
)
def test_no_more_go_than_find_a_place(
    lot: Lot, running: int, dead: int, adaptive: bool, found: float | None, goes: int
) -> None:
    lot.park(*many(30))
    for number in range(running):
        lot.redis.zadd(inflight(A), {f"r{number}#1": NOW + 5})
    for number in range(dead):
        lot.redis.zadd(inflight(A), {f"d{number}#1": NOW - 5})
    if found is not None:
        lot.redis.hset(limit(A), "adaptive", found)
    assert len(lot.ids(concurrency=10, adaptive=adaptive)) == goes


def test_calls_come_back_evenly_at_the_rate(lot: Lot) -> None:
    lot.park(*many(1000))
    went = [len(lot.go(NOW + step / 10, interval=1 / 50)) for step in range(50)]
    assert went[0] == 13, "a quarter of a second ahead"
    assert set(went[1:]) <= {4, 5, 6}
    assert abs(sum(went) - 50 * 5.15) <= 3


def test_places_that_nobody_took_are_not_used_up(lot: Lot) -> None:
    lot.park("first")
    assert lot.go(interval=1 / 50) == ["first"]
    lot.park(*many(50))
    assert len(lot.go(interval=1 / 50)) == 12, "of thirteen"


def test_a_rate_that_was_raised_acts_soon(lot: Lot) -> None:
    lot.park(*many(50))
    assert len(lot.go(interval=3600)) == 1
    assert lot.go(NOW + 1, interval=3600) == []
    assert lot.go(NOW + 1.5, interval=0.1) == []
    assert len(lot.go(NOW + 1.75, interval=0.1)) == 2, "from 1.85 to 2.00"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.floats(0.001, 2.0), min_size=1, max_size=25),
    rate=st.integers(1, 400),
    concurrency=st.integers(1, 60),
)
def test_never_more_than_rate_and_places(lot: Lot, steps: list[float], rate: int, concurrency: int) -> None:
    lot.redis.flushdb()
    lot.park(*many(300), now=NOW - 1)
    now, gone = NOW, []
    for step in steps:
        went = lot.go(now, interval=1 / rate, concurrency=concurrency)
        assert len(went) <= concurrency
        gone += went
        # A Unix time of this size has room for microseconds only.
        assert len(gone) <= rate * (now - NOW + 0.25) + 1.001
        now += step
    assert gone == many(300)[: len(gone)], "each once, in order"


# -- the ramp ----------------------------------------------------------------------------------------------------------


def expected(seconds: float) -> float:
    """Calls that a ramp has let out after so long: 10/s, doubling every second, 2,000/s at most."""
    steep = min(seconds, math.log2(200))
    return 10 / math.log(2) * (2**steep - 1) + 2000 * (seconds - steep)


@pytest.mark.parametrize("every", [0.05, 0.1, 0.4])
def test_after_an_outage_calls_come_back_as_a_ramp(lot: Lot, every: float) -> None:
    for start in range(0, 3000, 500):
        lot.park(*(f"c{number:04}" for number in range(start, start + 500)), now=NOW - 60)
    lot.breaker("closed", closed_at=NOW)
    gone, now = 0, NOW
    while now < NOW + 7:
        now += every
        went = len(lot.go(now))
        while went == 200 or went == 400:
            more = len(lot.go(now))
            went += more
            if more < 200:
                break
        gone += went
        assert abs(gone - expected(now - NOW)) <= 2, f"after {now - NOW:.2f} s"


def test_a_pause_is_made_up_for_by_one_second_at_most(lot: Lot) -> None:
    lot.park(*many(600))
    lot.breaker("closed", closed_at=NOW - 3)
    lot.redis.hset(ramp(A), mapping={"tokens": 0, "at": NOW - 3})
    assert len(lot.ids()) == 80, "of the 101 that it owes, what its rate now lets out in a second"
    lot.redis.delete(ramp(A))
    lot.breaker("closed", closed_at=NOW - 5)
    lot.redis.hset(ramp(A), mapping={"tokens": 0, "at": NOW - 4.9})
    gone = 0
    while went := len(lot.go()):
        gone += went
    assert gone == 320


def test_long_after_an_outage_it_is_two_thousand_a_second(lot: Lot) -> None:
    lot.park(*many(300))
    lot.breaker("closed", closed_at=NOW - 100)
    lot.redis.hset(ramp(A), mapping={"tokens": 0, "at": NOW - 0.05025})
    assert len(lot.ids()) == 100


def test_probes_are_not_ramped(lot: Lot) -> None:
    lot.park(*many(5), now=NOW - 1)
    lot.breaker("half-open", granted=0, closed_at=NOW)
    assert len(lot.ids()) == 2


def test_a_second_outage_begins_a_new_ramp(lot: Lot) -> None:
    lot.park(*many(300))
    lot.redis.hset(ramp(A), mapping={"tokens": 1500, "at": NOW - 10})
    lot.breaker("closed", closed_at=NOW - 1)
    assert len(lot.ids()) == math.floor(expected(1))


# -- to their end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deadline_in", "until_in", "blocked_in", "goes"),
    [
        (5, 10, None, True),
        (15, 10, None, False),
        (5, None, 10, True),
        (15, None, 10, False),
        (15, 10, 20, True),
        (15, 20, 10, True),
        (25, 20, 10, False),
        (5, math.inf, None, False),
        (5, math.inf, 10, True),
        (-1, math.inf, None, True),
        (-1, 10, None, True),
    ],
)
def test_who_cannot_be_sent_before_its_deadline_goes_at_once(
    lot: Lot, deadline_in: float, until_in: float | None, blocked_in: float | None, goes: bool
) -> None:
    lot.park("a", now=NOW - 5, deadline_at=NOW + deadline_in)
    lot.park("b", now=NOW - 5, due=NOW + 3, deadline_at=NOW + deadline_in)
    if until_in is not None:
        lot.breaker("open", until=NOW + until_in)
    if blocked_in is not None:
        lot.redis.hset(limit(A), "blocked_until", NOW + blocked_in)
    assert sorted(lot.ids()) == (["a", "b"] if goes else [])
    assert lot.ids(NOW + 0.1) == [], "and not again while it is on its way"


def test_one_whose_deadline_is_past_goes_though_nothing_is_free(lot: Lot) -> None:
    lot.park("a", "b", deadline_at=NOW + 1)
    lot.park("c")
    assert sorted(lot.ids(NOW + 1.1, concurrency=0)) == ["a", "b"]


def test_a_dead_claim_does_not_hold_up_those_behind_it(lot: Lot) -> None:
    lot.park(*many(500), deadline_at=NOW + 60)
    lot.breaker("open", until=NOW + 100)
    assert len(lot.ids()) == 200
    # Nobody published them; the rest goes nevertheless, and these when their claims have ended.
    assert len(set(lot.ids(NOW + 0.1) + lot.ids(NOW + 0.2))) == 300
    assert lot.ids(NOW + 0.3) == []
    assert len(lot.ids(NOW + 30.05)) == 200


def test_ends_count_for_nothing_at_the_gate(lot: Lot) -> None:
    lot.park(*many(50), now=NOW - 10, deadline_at=NOW - 1)
    lot.park("x", "y", "z", now=NOW - 1)
    lot.breaker("half-open", granted=0)
    assert lot.ids(concurrency=2)[50:] == ["x", "y"]
