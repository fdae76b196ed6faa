"""Broker and result store go away and come back; the worker stays and loses nothing."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gateway.dev.valkey import Valkey
from gateway.errors import OutcomeUnknownError
from tests.integration.pool_rig import Rig, eventually
from tests.servers.proxy import Proxy


def made(folder: Path, *, append_only: bool = False) -> Valkey:
    folder.mkdir()
    return Valkey(folder, append_only=append_only)


def has_unread(server: Valkey) -> bool:
    """Whether bytes that it was sent wait in one of its sockets."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, _, queues, *_ = line.split()
        if int(local.rpartition(":")[2], 16) == server.port and int(queues.rpartition(":")[2], 16):
            return True
    return False


def is_written(rig: Rig) -> bool:
    """Whether a kill of the broker's process loses nothing that it has acknowledged."""
    told: dict[str, Any] = rig.broker.info("persistence")
    return not told["aof_buffer_length"] and not told["aof_pending_bio_fsync"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    server = made(tmp_path / "store", append_only=True)
    yield server
    server.stop()


def test_a_result_store_that_stalls(valkey: Valkey, store: Valkey, tmp_path: Path) -> None:
    rig = Rig(valkey, tmp_path, results=store)
    try:
        worker = rig.worker()
        pending = [rig.send(sleep_s=1.0) for _ in range(20)]
        eventually(lambda: len(rig.happened("started")) == 20, "they run")
        os.kill(store.process.pid, signal.SIGSTOP)
        try:
            eventually(lambda: len(rig.happened("ended")) == 20, "they end")
            # The hub goes on: remote control answers, and more calls start.
            assert rig.pool_info(worker)["in-flight"] == 20
            rig.app.send_task("gateway.call", kwargs={"do": {}}, ignore_result=True)
            eventually(lambda: len(rig.happened("ended")) == 21, "another call runs meanwhile")
            eventually(lambda: has_unread(store), "the worker asks the store and gets no answer")
        finally:
            os.kill(store.process.pid, signal.SIGCONT)
        for result in pending:
            assert result.get(timeout=20)["status"] == 200
        rig.acknowledged()
        assert len(rig.happened("started")) == 21
    finally:
        rig.close()


def test_a_result_store_that_is_killed(valkey: Valkey, store: Valkey, tmp_path: Path) -> None:
    rig = Rig(valkey, tmp_path, results=store)
    try:
        worker = rig.worker()
        pending = [rig.send(sleep_s=1.0) for _ in range(10)]
        eventually(lambda: len(rig.happened("started")) == 10, "they run")
        store.process.kill()
        eventually(lambda: len(rig.happened("ended")) == 10, "they end")
        assert rig.pool_info(worker)["in-flight"] == 10
        store.restart()
        eventually(lambda: not rig.unacked(), "all are stored and acknowledged", 40)
        assert len(rig.happened("started")) == 10
        assert {rig.app.AsyncResult(result.id).state for result in pending} == {"SUCCESS"}
        assert rig.pool_info(worker)["in-flight"] == 0
    finally:
        rig.close()


def test_a_broker_that_is_killed(valkey: Valkey, store: Valkey, tmp_path: Path) -> None:
    rig = Rig(store, tmp_path, results=valkey)
    try:
        worker = rig.worker()
        before = [rig.send(sleep_s=1.5) for _ in range(10)]
        eventually(lambda: len(rig.happened("started")) == 10, "they run")
        eventually(lambda: is_written(rig), "the append-only file has all of it")
        store.process.kill()
        eventually(lambda: len(rig.happened("ended")) == 10, "they end while the broker is away")
        store.restart()
        for result in before:
            assert result.get(timeout=20)["status"] == 200
        assert rig.send().get(timeout=30)["status"] == 200
        assert worker.exit_code is None
        eventually(lambda: rig.pool_info(worker)["in-flight"] == 0, "no slot leaked", 30)
        eventually(lambda: not rig.queued() and not rig.unacked(), "all are acknowledged", 30)
    finally:
        rig.close()


def test_a_connection_that_is_reset_runs_nothing_twice(valkey: Valkey, rig: Rig) -> None:
    with Proxy(valkey.port) as proxy:
        worker = rig.worker(concurrency=5, conf={"worker_prefetch_multiplier": 2}, env={"POOL_BROKER": proxy.url(1)})
        pending = [rig.send(sleep_s=2) for _ in range(10)]
        eventually(lambda: len(rig.happened("started")) == 5 and rig.unacked() == 10, "five run, five wait")
        proxy.reset(refuse=True)
        eventually(lambda: "Connection to broker lost" in worker.output(), "it notices")
        # A worker that died would have been given up for dead meanwhile, and its messages taken by this one.
        other = rig.worker()
        proxy.let_go()
        after = [rig.send() for _ in range(5)]
        for result in [*pending, *after]:
            assert result.get(timeout=20)["status"] == 200
        rig.acknowledged()
        assert sorted(rig.happened("started")) == sorted(result.id for result in [*pending, *after])
        assert worker.exit_code is other.exit_code is None


def test_a_message_that_kills_workers_ends(rig: Rig) -> None:
    rig.worker()
    call_id = str(uuid4())
    headers = {"id": call_id, "task": "gateway.call", "lang": "py", "retries": 0}
    rig.raw(json.dumps([[], {"do": {}}, {}]), headers, gateway_deaths=20)
    with pytest.raises(OutcomeUnknownError):
        rig.app.AsyncResult(call_id).get(timeout=10)
    rig.acknowledged()
    assert not rig.happened("started")
