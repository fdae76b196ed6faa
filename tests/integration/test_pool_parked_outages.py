"""Whatever dies meanwhile, a parked call is in one place, and comes back once."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gateway.dev.valkey import Valkey
from gateway.errors import ServiceUnavailableError
from gateway.fleet_keys import breaker, parked
from tests.integration.parked_calls import SERVICE, UNPARKS, enqueue, hold, let_go, lot
from tests.integration.parking_scripts import CLAIM
from tests.integration.pool_rig import Rig, eventually
from workers.unparker import CLAIM_S


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, which it may stop."""
    (tmp_path / "store").mkdir()
    server = Valkey(tmp_path / "store")
    yield server
    server.stop()


def test_a_cold_stop_parks_and_acknowledges_what_is_being_parked(rig: Rig) -> None:
    worker = rig.worker(env={})
    pending = [rig.send(park=1, park_s=1.0) for _ in range(20)]
    eventually(lambda: len(rig.happened("parking")) == 20, "all are being parked")
    worker.cold_stop()
    worker.wait(15)
    assert (rig.queued(), rig.unacked(), lot(rig)) == (0, 0, (20, 20, 20))
    rig.worker(env=UNPARKS)
    for result in pending:
        assert result.get(timeout=10)["status"] == 200
    assert sorted(rig.happened("started")) == sorted(result.id for result in pending)


def test_a_cold_stop_amid_parking_leaves_each_call_in_one_place(rig: Rig) -> None:
    worker = rig.worker(concurrency=500)
    pending = [rig.send(park=1, sleep_s=30) for _ in range(300)]
    eventually(lambda: len(rig.happened("parking")) > 50, "some are parked")
    worker.cold_stop()
    worker.wait(15)
    waiting = {json.loads(entry)["headers"]["id"] for entry in rig.broker.lrange("calls", 0, -1)}
    away = set(rig.results.zrange(parked(SERVICE), 0, -1))
    assert not waiting & away
    assert waiting | away == {result.id for result in pending}
    assert rig.unacked() == 0


def test_redis_that_does_not_answer_is_an_error_in_time(rig: Rig, store: Valkey, tmp_path: Path) -> None:
    # The fleet's state on a server of its own, so that only this one is away.
    rig.worker(env={**UNPARKS, "POOL_FLEET": store.url()})
    fleet = redis.Redis.from_url(store.url(), decode_responses=True)
    fleet.hset(breaker(SERVICE), mapping={"phase": "open", "until": "inf"})
    first = rig.send(park=1)
    eventually(lambda: fleet.zcard(parked(SERVICE)), "the first one is parked, over a connection that stays")
    result = rig.send(park=1, park_s=1.0)
    eventually(lambda: result.id in rig.happened("parking"), "it is being parked")
    store.process.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(ServiceUnavailableError, match="could not be parked"):
            result.get(timeout=20)
        assert time.monotonic() - began < 4
        rig.acknowledged()
    finally:
        store.process.signal(signal.SIGCONT)
    # It was parked late, when nobody waited for an answer any more; the next one takes that back.
    eventually(lambda: fleet.zrange(parked(SERVICE), 0, -1) == [first.id, result.id], "it was parked after all")
    later = rig.send(park=1)
    eventually(lambda: fleet.zrange(parked(SERVICE), 0, -1) == [first.id, later.id], "it is taken back")
    assert rig.happened("came-back-1") == []
    fleet.close()


def test_parked_calls_survive_a_restart_of_redis(tmp_path: Path) -> None:
    store = Valkey(tmp_path, append_only=True)
    rig = Rig(store, tmp_path)
    try:
        worker = rig.worker(env=UNPARKS)
        hold(rig)
        pending = [rig.send(park=1) for _ in range(20)]
        eventually(lambda: lot(rig)[0] == 20, "all are parked")
        rig.acknowledged()
        store.restart()
        let_go(rig)
        for result in pending:
            assert rig.app.AsyncResult(result.id).get(timeout=30)["status"] == 200
        assert sorted(rig.happened("started")) == sorted(result.id for result in pending)
        assert "a defect" not in worker.output()
    finally:
        rig.close()
        store.stop()


def test_parked_calls_wait_for_a_broker_that_is_away(valkey: Valkey, store: Valkey, tmp_path: Path) -> None:
    rig = Rig(store, tmp_path, results=valkey)
    try:
        worker = rig.worker(env=UNPARKS)
        hold(rig)
        pending = [rig.send(park=1) for _ in range(20)]
        eventually(lambda: lot(rig)[0] == 20, "all are parked")
        rig.acknowledged()
        store.stop()
        let_go(rig)
        eventually(lambda: "parked calls wait" in worker.output(), "the unparker notices")
        assert lot(rig)[0] == 20
        store.restart()
        for result in pending:
            assert result.get(timeout=20)["status"] == 200
        assert sorted(set(rig.happened("started"))) == sorted(result.id for result in pending)
        assert worker.output().count("parked calls wait") == 1
        assert "a defect" not in worker.output()
    finally:
        rig.close()


def memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_five_thousand_come_back_exactly_once(rig: Rig) -> None:
    first, _ = (rig.worker(concurrency=200, env=UNPARKS) for _ in range(2))
    hold(rig)
    # What the first calls load and allocate is not what parked ones hold.
    ids = enqueue(rig, 500, "first")
    eventually(lambda: lot(rig)[0] == 500, "the first are parked")
    before = memory_kb(first.pid)
    ids |= enqueue(rig, 4500)
    eventually(lambda: lot(rig)[0] == 5000, "all are parked", 60)
    rig.acknowledged()
    grown = memory_kb(first.pid) - before
    assert grown < 10_000, f"{grown} kB"
    let_go(rig)
    eventually(lambda: len(rig.happened("ended")) >= 5000, "all came back", 60)
    rig.acknowledged()
    came = rig.happened("came-back-1")
    assert len(came) == 5000
    assert set(came) == ids
    assert lot(rig) == (0, 0, 0)


def test_an_unparker_that_is_killed_loses_nothing_and_its_duplicates_can_be_told(rig: Rig) -> None:
    # Nobody takes what is published: all of it can be looked at.
    parker = rig.worker(concurrency=200)
    ids = enqueue(rig, 1500)
    eventually(lambda: lot(rig)[0] == 1500, "all are parked", 60)
    rig.acknowledged()
    parker.stop()
    published = rig.broker
    victims = [rig.worker(env=UNPARKS, queues=["elsewhere"]) for _ in range(2)]
    eventually(lambda: published.llen("calls") > 100, "they are being published")
    victims[0].kill()
    # What the victim had claimed comes back when its claims end.
    eventually(lambda: lot(rig) == (0, 0, 0), "all are published", 60)
    headers = [json.loads(entry)["headers"] for entry in published.lrange("calls", 0, -1)]
    assert {one["id"] for one in headers} == ids
    assert {one["gateway_parks"] for one in headers} == {1}


def test_a_call_whose_unparker_died_ends_soon_after_its_deadline(rig: Rig) -> None:
    rig.worker(env=UNPARKS)
    hold(rig)
    began = time.time()
    result = rig.send(park=1, deadline_s=3)
    eventually(lambda: lot(rig) == (1, 1, 1), "it is parked")
    # One that claims it and is never heard of again: to it there is no breaker.
    gate = {"name": SERVICE, "interval": 0, "concurrency": 1000, "adaptive": False, "breaker": False, "probes": 1}
    asked = json.dumps({"claim_s": CLAIM_S, "services": [gate]})
    (claim,) = json.loads(CLAIM.run_sync(rig.results, asked))["claimed"]
    assert claim[1] == result.id
    assert result.get(timeout=15)["status"] == 200
    assert 3 < time.time() - began < 3 + 5
    eventually(lambda: lot(rig) == (0, 0, 0), "nothing of it is left")
    assert rig.happened("started") == [result.id]
