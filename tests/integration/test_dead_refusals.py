"""Messages that do not become calls: refused once, for good, and each kept as a dead letter."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gateway.dead_letter import DeadLetter, Reason
from gateway.dead_letters import DeadLetters
from gateway.dev.valkey import Valkey
from gateway.errors import InvalidCallError, OutcomeUnknownError
from tests.integration.pool_rig import CALL, Rig, eventually

EMBED: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def letters(rig: Rig) -> dict[str, DeadLetter]:
    with DeadLetters.open(rig.urls[1]) as opened:
        return {letter.id: letter for letter in opened}


def test_a_poisonous_message_ends_and_is_kept(rig: Rig) -> None:
    rig.worker()
    call_id = str(uuid4())
    kwargs = {"version": 1, "call": CALL | {"path": {"user_id": "1"}}, "caller": "orders"}
    rig.raw(json.dumps([[], kwargs, EMBED]), {"task": "gateway.call", "id": call_id}, gateway_deaths=20)
    with pytest.raises(OutcomeUnknownError, match="delivered 20 times"):
        rig.app.AsyncResult(call_id).get(timeout=10)
    rig.acknowledged()
    letter = letters(rig)[call_id]
    assert (letter.reason, letter.service, letter.operation) == (
        Reason.POISONOUS,
        "user-service",
        "GET /users/{user_id}",
    )
    assert (letter.caller, letter.queue, letter.may_have_acted) == ("orders", "calls", True)
    assert rig.happened("started") == []


def test_a_refused_duplicate_changes_no_outcome(rig: Rig) -> None:
    rig.worker()
    ended = rig.send()
    assert ended.get(timeout=10)["status"] == 200
    failed = rig.send(fail="no")
    with pytest.raises(Exception, match="no"):
        failed.get(timeout=10)
    for call_id in (ended.id, failed.id):
        rig.raw("[1, 2]", {"task": "gateway.call", "id": call_id})
    last = str(uuid4())
    rig.raw("[1, 2]", {"task": "gateway.call", "id": last})
    with pytest.raises(InvalidCallError):
        rig.app.AsyncResult(last).get(timeout=10)
    rig.acknowledged()
    stored = [json.loads(rig.results.get(f"celery-task-meta-{each.id}") or "{}") for each in (ended, failed)]
    assert [meta["status"] for meta in stored] == ["SUCCESS", "FAILURE"]
    assert stored[1]["result"]["exc_type"] == "ServiceUnavailableError"
    assert list(letters(rig)) == [last]


def test_a_refusal_waits_for_the_store(valkey: Valkey, tmp_path: Path) -> None:
    """Not acknowledged as long as nobody could be told."""
    (tmp_path / "results").mkdir()
    store = Valkey(tmp_path / "results", append_only=True)
    rig = Rig(valkey, tmp_path, results=store)
    try:
        worker = rig.worker()
        store.stop()
        call_id = str(uuid4())
        rig.raw("[1, 2]", {"task": "gateway.call", "id": call_id})
        eventually(lambda: f"the refusal of call {call_id} is not stored yet" in worker.output(), "it says so", 30)
        assert rig.unacked() == 1
        store.restart()
        with pytest.raises(InvalidCallError):
            rig.app.AsyncResult(call_id).get(timeout=20)
        rig.acknowledged()
        assert list(letters(rig)) == [call_id]
        assert worker.exit_code is None
    finally:
        rig.close()
        store.stop()
