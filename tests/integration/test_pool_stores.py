"""A worker that stops while outcomes cannot be stored: it ends, and sends nothing twice that may have been sent."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.dev.valkey import Valkey
from tests.integration.pool_rig import Rig, eventually
from tests.servers.worker import Worker

GRACE = {"gateway_store_grace_s": 2.0}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    """The result store alone."""
    folder = tmp_path / "store"
    folder.mkdir()
    server = Valkey(folder)
    yield server
    server.stop()


@pytest.fixture
def apart(valkey: Valkey, store: Valkey, tmp_path: Path) -> Iterator[Rig]:
    """A rig whose results have a server of their own."""
    made = Rig(valkey, tmp_path, results=store)
    yield made
    made.close()


def fill(rig: Rig) -> None:
    """The store answers every write with an error."""
    rig.results.config_set("maxmemory", 1)


def empty(rig: Rig) -> None:
    """The store takes writes again."""
    rig.results.config_set("maxmemory", 0)


def told(worker: Worker, call_id: str) -> list[str]:
    """What the worker logged of a call's outcome that it could not store."""
    return [line for line in worker.output().splitlines() if "its message goes back:" in line and call_id in line]


def settled_without_store(rig: Rig, worker: Worker) -> dict[str, Any]:
    """Three calls that have their outcomes, which are not stored."""
    fill(rig)
    calls = {
        "reply": rig.send(say="SECRET"),
        "maybe": rig.send(fail="reset", delivery="maybe_sent"),
        "unsent": rig.send(fail="refused"),
    }
    eventually(lambda: len(rig.happened("ended")) == 3, "they end")
    eventually(lambda: "is not stored yet" in worker.output(), "storing fails")
    return calls


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_full_store_at_a_stop(apart: Rig, number: signal.Signals) -> None:
    worker = apart.worker(conf=GRACE)
    calls = settled_without_store(apart, worker)
    began = time.monotonic()
    worker.process.signal(number)
    worker.wait(20)
    assert time.monotonic() - began < 15
    assert (apart.queued(), apart.unacked()) == (3, 0)
    assert len(told(worker, calls["reply"].id)) == 1
    assert "200 in" in told(worker, calls["reply"].id)[0]
    assert "ServiceUnavailableError" in told(worker, calls["maybe"].id)[0]
    assert told(worker, calls["unsent"].id) == []
    assert "SECRET" not in worker.output()
    empty(apart)
    apart.worker()
    eventually(lambda: len(apart.happened("started")) == 6, "they come again")
    apart.acknowledged()
    assert sorted(apart.happened("started")[3:]) == sorted(call.id for call in calls.values())
    # As ones that were begun, but for the one that was not sent: so the executor can tell what may not be repeated.
    assert sorted(apart.happened("redelivered")) == sorted([calls["reply"].id, calls["maybe"].id])
    assert {call.state for call in calls.values()} == {"SUCCESS", "FAILURE"}


def test_a_store_that_is_back_within_the_grace_loses_nothing(apart: Rig) -> None:
    worker = apart.worker(conf={"gateway_store_grace_s": 30})
    calls = settled_without_store(apart, worker)
    worker.warm_stop()
    eventually(lambda: "waiting for 3 task" in worker.output(), "it drains")
    empty(apart)
    assert worker.wait(15) == 0
    assert (apart.queued(), apart.unacked()) == (0, 0)
    assert {name: str(result.state) for name, result in calls.items()} == {
        "reply": "SUCCESS",
        "maybe": "FAILURE",
        "unsent": "FAILURE",
    }


def test_the_grace_begins_when_all_calls_have_their_outcomes(apart: Rig) -> None:
    worker = apart.worker(conf=GRACE)
    fill(apart)
    apart.send()
    long = apart.send(sleep_s=5)
    eventually(lambda: len(apart.happened("started")) == 2 and apart.happened("ended"), "one ended, one runs")
    worker.warm_stop()
    eventually(lambda: long.id in apart.happened("ended"), "the other ended")
    assert "its message goes back" not in worker.output()
    assert worker.wait(20) == 0
    assert len(told(worker, long.id)) == 1
    assert (apart.queued(), apart.unacked()) == (2, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_store_that_is_gone_does_not_keep_the_worker(apart: Rig, store: Valkey, number: signal.Signals) -> None:
    worker = apart.worker(conf=GRACE)
    pending = [apart.send(sleep_s=3) for _ in range(50)]
    eventually(lambda: len(apart.happened("started")) == 50, "they run")
    os.kill(store.process.pid, number)
    try:
        eventually(lambda: len(apart.happened("ended")) == 50, "they end")
        worker.warm_stop()
        assert worker.wait(20) == 0
    finally:
        os.kill(store.process.pid, signal.SIGCONT)
    store.restart()
    assert (apart.queued(), apart.unacked()) == (50, 0)
    assert [len(told(worker, result.id)) for result in pending] == [1] * 50


def test_a_call_that_is_revoked_after_its_reply_keeps_it(apart: Rig) -> None:
    worker = apart.worker()
    fill(apart)
    result = apart.send()
    eventually(lambda: "is not stored yet" in worker.output(), "its reply cannot be stored")
    apart.app.control.revoke(result.id, terminate=True, reply=True, timeout=3)
    empty(apart)
    assert result.get(timeout=30)["status"] == 200
    apart.acknowledged()
    assert not apart.happened("cancelled")


def test_a_chain_goes_on_once_however_often_storing_is_tried(apart: Rig) -> None:
    worker = apart.worker()
    fill(apart)
    write = apart.app.signature("tests.write", app=apart.app, immutable=True)
    result = apart.send({"link": write, "chain": [apart.app.signature("tests.write", app=apart.app, immutable=True)]})
    eventually(lambda: worker.output().count("is not stored yet") >= 3, "storing is tried again")
    empty(apart)
    assert result.get(timeout=30)["status"] == 200
    apart.acknowledged()
    assert len(apart.happened("written")) == 2


def test_redis_is_really_full(apart: Rig) -> None:
    fill(apart)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        apart.results.set("a", "b")
