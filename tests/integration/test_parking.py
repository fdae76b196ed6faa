"""Who parks a call, and who has it when it leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from gateway.dev.valkey import Valkey
from gateway.fleet_keys import parked, parked_deadlines, parked_messages
from gateway.records import key_of
from tests.integration.parking_scripts import CLAIMED, NOW, PARK, A, Lot, many
from workers.fleet.parking import ParkingLot


@pytest.fixture
def lot(valkey: Valkey) -> Iterator[Lot]:
    with redis.Redis.from_url(valkey.url(5), decode_responses=True) as client:
        client.flushdb()
        yield Lot(client)


# -- parking -----------------------------------------------------------------------------------------------------------


def test_what_parking_writes(lot: Lot) -> None:
    assert lot.park("a", until=None, attempts=2, free=1, maybe=1, paid=2) == [1]
    assert lot.redis.hgetall(key_of("a")) == {
        "lease": "1",
        "lease_until": "0",
        "owner": "",
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


def test_the_history_of_all_parkings_is_kept(lot: Lot) -> None:
    lot.park("a", history='[{"number":1}]')
    lot.park("a")
    lot.park("a", history='[{"number":2},{"number":3}]')
    assert json.loads(lot.redis.hget(key_of("a"), "history")) == [{"number": 1}, {"number": 2}, {"number": 3}]
    lot.redis.hset(key_of("a"), "history", json.dumps(["x" * 10_000]))
    lot.park("a", history='[{"number":4}]')
    assert json.loads(lot.redis.hget(key_of("a"), "history")) == [{"number": 4}], "it is bounded"


def test_a_call_that_belongs_to_another_is_not_parked(lot: Lot) -> None:
    lot.redis.hset(key_of("a"), mapping={"lease": 2, "state": "running"})
    assert lot.park("a") == [0]
    assert lot.redis.hgetall(key_of("a")) == {"lease": "2", "state": "running"}
    assert lot.ids() == []


@pytest.mark.parametrize(
    ("record", "is_parked"),
    [
        ({}, 1),
        ({"state": "pending"}, 1),
        ({"state": "running", "lease": 3, "lease_until": NOW - 1}, 1),
        ({"state": "running", "lease": 3, "lease_until": NOW + 1}, 0),
        ({"state": "parked", "lease": 3, "lease_until": 0}, 0),
    ],
)
def test_without_a_lease_a_call_is_parked_that_nobody_has(lot: Lot, record: dict[str, Any], is_parked: int) -> None:
    lot.redis.hset(key_of("a"), mapping={"worker": "w", **record})
    assert lot.park("a", token=0, lease=False) == [is_parked]
    assert lot.redis.zcard(parked(A)) == is_parked


def test_who_could_not_ask_for_a_lease_does_not_forget_for_those_before_it(lot: Lot) -> None:
    lot.redis.hset(
        key_of("a"), mapping={"lease": 1, "state": "running", "lease_until": NOW - 1, "open": 2, "attempts": 2}
    )
    assert lot.park("a", token=0, owner="another", lease=False) == [1]
    record = lot.redis.hgetall(key_of("a"))
    assert (record["maybe"], record["attempts"]) == ("1", "2")


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
    assert lot.claim() == [[A, "a", 1, '{"parks":1,"maybe":0,"v":1,"body":"[]"}', 30]]
    assert lot.ids(NOW + 29.9) == []
    assert lot.ids(NOW + 30.1) == ["a"]


@pytest.mark.parametrize(
    ("deadline_in", "claimed_for"),
    [(600, 10), (11, 10), (5, 5), (2.5, 2.5), (1, 2), (0, 2), (-3, 2)],
)
def test_a_claim_ends_with_the_calls_deadline(lot: Lot, deadline_in: float, claimed_for: float) -> None:
    lot.park("a", deadline_at=NOW + deadline_in)
    (claim,) = lot.claim(claim_s=10)
    assert claim[4] == pytest.approx(claimed_for, abs=1e-5)
    assert lot.redis.zscore(parked(A), "a") == lot.redis.zscore(parked_deadlines(A), "a")
    assert lot.ids(NOW + claimed_for - 0.1) == []
    assert lot.ids(NOW + claimed_for + 0.1) == ["a"]


def test_the_second_claim_knows_the_deadline_too(lot: Lot) -> None:
    lot.park("a", deadline_at=NOW + 14)
    assert lot.claim(claim_s=10)[0][4] == pytest.approx(10, abs=1e-5)
    assert lot.claim(NOW + 10.1, claim_s=10)[0][4] == pytest.approx(3.9, abs=1e-5)


def test_a_claim_of_what_has_no_record_is_short(lot: Lot) -> None:
    lot.park("a")
    lot.redis.delete(key_of("a"))
    lot.redis.zadd(parked_deadlines(A), {"a": NOW})
    assert lot.claim()[0][4] == pytest.approx(2, abs=1e-5)
    assert lot.ids(NOW + 2.1) == ["a"]


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
        owner="a worker of this test",
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
