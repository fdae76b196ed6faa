"""The gate of parking, decided by the scripts themselves on a real server, with a clock of the test's own."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dev.valkey import Valkey
from gateway.fleet_keys import breaker, inflight, limit, parked, parked_deadlines, parked_messages, probes, ramp
from gateway.records import key_of
from workers.fleet.parking import ParkingLot
from workers.fleet.script import Script

NOW = 1_800_000_000.0
A = "service-a"

PARK, CLAIM, CLAIMED = Script("park.lua"), Script("claim.lua"), Script("claimed.lua")


class Lot:
    """What an unparker and a worker do, at a time that is told."""

    def __init__(self, client: Any) -> None:
        self.redis = client

    def park(self, *ids: str, now: float = NOW, service: str = A, **fields: Any) -> list[int]:
        """Park calls whose lease is 1."""
        for call_id in ids:
            self.redis.hsetnx(key_of(call_id), "lease", 1)
        calls = [
            {
                "id": call_id,
                "service": service,
                "message": '{"v":1,"body":"[]"}',
                "deadline_at": now + 600,
                "token": 1,
                "attempts": 0,
                "free": 0,
                "maybe": 0,
                "spent": 0.25,
                "paid": 0,
                "why": "the breaker is open",
                **fields,
            }
            for call_id in ids
        ]
        answers: list[int] = json.loads(PARK.run_sync(self.redis, json.dumps({"now": now, "ttl": 10, "calls": calls})))
        return answers

    def claim(self, now: float = NOW, **terms: Any) -> list[list[Any]]:
        """What goes now, as `[service, id, parks, message]`."""
        service = {
            "name": A,
            "interval": 0,
            "concurrency": 100_000,
            "adaptive": False,
            "breaker": True,
            "probes": 2,
            **terms,
        }
        answer = json.loads(CLAIM.run_sync(self.redis, json.dumps({"now": now, "claim_s": 30, "services": [service]})))
        return list(answer["claimed"])

    def ids(self, now: float = NOW, **terms: Any) -> list[str]:
        """The ids of what goes now."""
        return [one[1] for one in self.claim(now, **terms)]

    def go(self, now: float = NOW, **terms: Any) -> list[str]:
        """Claim, and say that all are published."""
        claims = self.claim(now, **terms)
        CLAIMED.run_sync(self.redis, json.dumps([one[:3] for one in claims]))
        return [one[1] for one in claims]

    def breaker(self, phase: str, **fields: Any) -> None:
        self.redis.hset(breaker(A), mapping={"phase": phase, **fields})


@pytest.fixture
def lot(valkey: Valkey) -> Iterator[Lot]:
    with redis.Redis.from_url(valkey.url(5), decode_responses=True) as client:
        client.flushdb()
        yield Lot(client)


def many(count: int) -> list[str]:
    return [f"c{number:04}" for number in range(count)]


# -- parking -----------------------------------------------------------------------------------------------------------


def test_what_parking_writes(lot: Lot) -> None:
    assert lot.park("a", until=None, attempts=2, free=1, maybe=1, paid=2) == [1]
    assert lot.redis.hgetall(key_of("a")) == {
        "lease": "1",
        "lease_until": "0",
        "state": "parked",
        "parks": "1",
        "attempts": "2",
        "free": "1",
        "maybe": "1",
        "spent": "0.250000",
        "paid": "2",
        "why": "the breaker is open",
        "service": A,
        "deadline_at": f"{NOW + 600:.6f}",
    }
    assert lot.redis.expiretime(key_of("a")) == NOW + 610
    assert lot.redis.zscore(parked(A), "a") == NOW
    assert lot.redis.zscore(parked_deadlines(A), "a") == NOW + 600
    assert json.loads(lot.redis.hget(parked_messages(A), "a")) == {"parks": 1, "maybe": 1, "v": 1, "body": "[]"}
    assert lot.redis.smembers("gateway:services") == {A}


def test_a_call_that_belongs_to_another_is_not_parked(lot: Lot) -> None:
    lot.redis.hset(key_of("a"), mapping={"lease": 2, "state": "running"})
    assert lot.park("a") == [0]
    assert lot.redis.hgetall(key_of("a")) == {"lease": "2", "state": "running"}
    assert lot.ids() == []


def test_a_record_that_the_server_has_lost_does_not_lose_the_call(lot: Lot) -> None:
    call = {"id": "a", "service": A, "message": "{}", "deadline_at": NOW, "token": 7, "attempts": 0, "free": 0}
    call |= {"maybe": 0, "spent": 0, "paid": 0, "why": ""}
    assert json.loads(PARK.run_sync(lot.redis, json.dumps({"now": NOW, "ttl": 10**9, "calls": [call]}))) == [1]
    assert lot.redis.hget(key_of("a"), "lease") == "7"


def test_one_that_was_cancelled_meanwhile_stays_so_and_leaves_at_once(lot: Lot) -> None:
    lot.redis.hset(key_of("a"), "state", "cancelled")
    lot.breaker("open", until="inf")
    assert lot.park("a", due=NOW + 100) == [1]
    assert lot.redis.hget(key_of("a"), "state") == "cancelled"
    assert lot.ids() == ["a"]


def test_what_nobody_knew_to_be_parked_is_taken_back(lot: Lot) -> None:
    lot.park("ended", "taken-over")
    lot.redis.hset(key_of("taken-over"), "lease", 2)
    forget = [{"id": name, "service": A, "token": 1} for name in ("ended", "taken-over", "never-parked")]
    PARK.run_sync(lot.redis, json.dumps({"now": NOW, "ttl": 10, "calls": [], "forget": forget}))
    assert lot.ids() == ["taken-over"]


# -- claims ------------------------------------------------------------------------------------------------------------


def test_a_claimed_call_is_not_claimed_again_until_the_claim_ends(lot: Lot) -> None:
    lot.park("a")
    assert lot.claim() == [[A, "a", 1, '{"parks":1,"maybe":0,"v":1,"body":"[]"}']]
    assert lot.ids(NOW + 29.9) == []
    assert lot.ids(NOW + 30.1) == ["a"]


def test_a_published_call_leaves_nothing(lot: Lot) -> None:
    lot.park("a")
    assert lot.go() == ["a"]
    assert not lot.redis.exists(parked(A), parked_deadlines(A), parked_messages(A))
    assert lot.redis.hget(key_of("a"), "state") == "parked", "its worker wants to know why it was parked"


def test_a_call_that_is_parked_anew_before_its_publisher_says_so_stays(lot: Lot) -> None:
    lot.park("a")
    first = lot.claim()
    lot.park("a", now=NOW + 1)
    assert json.loads(CLAIMED.run_sync(lot.redis, json.dumps([first[0][:3]]))) == 0
    assert [one[2] for one in lot.claim(NOW + 1)] == [2]


def test_an_id_without_a_message_is_forgotten(lot: Lot) -> None:
    lot.park("a", "b")
    lot.redis.hdel(parked_messages(A), "a")
    assert lot.ids() == ["b"]
    assert lot.redis.zscore(parked(A), "a") is None
    assert lot.redis.zscore(parked_deadlines(A), "a") is None


def test_the_oldest_goes_first_and_none_before_it_is_due(lot: Lot) -> None:
    lot.park("late", now=NOW + 2)
    lot.park("early", now=NOW + 1)
    lot.park("tomorrow", due=NOW + 500)
    assert lot.ids(NOW + 3, concurrency=1) == ["early"]
    assert lot.ids(NOW + 3) == ["late"]
    assert lot.ids(NOW + 499) == ["early", "late"], "whose claims ended"
    assert lot.ids(NOW + 501) == ["tomorrow"]


def test_an_answer_is_bounded(lot: Lot) -> None:
    lot.park(*many(450))
    assert [len(lot.go()) for _ in range(4)] == [200, 200, 50, 0]
    lot.park(*many(5), message='{"v":1,"body":"' + "x" * 1_500_000 + '"}')
    assert [len(lot.go()) for _ in range(3)] == [3, 2, 0]


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


def test_a_rate_that_was_raised_acts_soon(lot: Lot) -> None:
    lot.park(*many(50))
    assert len(lot.go(interval=3600)) == 1
    assert lot.go(NOW + 1, interval=3600) == []
    assert lot.go(NOW + 1.5, interval=0.1) == []
    assert len(lot.go(NOW + 1.7, interval=0.1)) == 2


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
        assert len(gone) <= rate * (now - NOW + 0.25) + 1
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


def test_other_services_are_left_alone(lot: Lot) -> None:
    lot.park("a")
    lot.park("b", service="service-b")
    assert lot.ids() == ["a"]
    assert lot.redis.zcard(parked("service-b")) == 1


# -- what the executor uses --------------------------------------------------------------------------------------------


@pytest.fixture
async def parking(valkey: Valkey) -> AsyncIterator[ParkingLot]:
    made = ParkingLot(valkey.url(5))
    yield made
    await made.close()


async def park(parking: ParkingLot, call_id: str, token: int = 1) -> bool:
    return await parking.park(
        call_id,
        service=A,
        message=b'{"v":1,"body":"\xc3\xa4"}',
        until=None,
        deadline_at=NOW + 600,
        token=token,
        attempts=0,
        free=0,
        maybe=False,
        spent_s=0.0,
        paid=0,
        why="the breaker is open",
    )


async def test_calls_of_one_tick_share_a_round_trip(lot: Lot, parking: ParkingLot) -> None:
    for call_id in many(150):
        lot.redis.hset(key_of(call_id), "lease", 1)
    await park(parking, "first", 1)
    before = lot.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    answers = await asyncio.gather(*(park(parking, call_id, 1 + (call_id == "c0007")) for call_id in many(150)))
    assert [number for number, answer in enumerate(answers) if not answer] == [7]
    assert lot.redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before == 1


async def test_a_server_that_forgot_the_script_learns_it_again(lot: Lot, parking: ParkingLot) -> None:
    assert await park(parking, "a")
    lot.redis.script_flush()
    assert await park(parking, "b")
    lot.redis.script_flush()
    assert sorted(lot.ids()) == ["a", "b"]


async def test_what_has_begun_is_seen_through_in_spite_of_a_cancellation(lot: Lot, parking: ParkingLot) -> None:
    task = asyncio.ensure_future(park(parking, "a"))
    await asyncio.sleep(0)
    task.cancel()
    assert await task
    assert lot.ids() == ["a"]


async def test_cancelled_and_not_parked_it_is_cancelled(lot: Lot, parking: ParkingLot) -> None:
    lot.redis.hset(key_of("a"), "lease", 2)
    task = asyncio.ensure_future(park(parking, "a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
