"""Whatever lies in a queue: it ends, and the worker lives."""

import base64
import json
from typing import Any
from uuid import uuid4

import pytest

from gateway.errors import InvalidCallError
from tests.integration.pool_rig import CALL, Rig, eventually

GOOD: list[Any] = [[], {"call": CALL, "do": {}}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]

#: Shapes that have an id: each ends as a stored `InvalidCallError`. (what, body, more headers, more of the envelope)
WITH_AN_ID: list[tuple[str, Any, dict[str, Any], dict[str, Any]]] = [
    ("body is no JSON", "{{{ SECRET", {}, {}),
    ("body is empty", "", {}, {}),
    ("body is null", "null", {}, {}),
    ("body is a number", "7", {}, {}),
    ("body is an object", '{"call": "SECRET"}', {}, {}),
    ("body is hybrid", '{"args": [], "kwargs": {"x": "SECRET"}}', {}, {}),
    ("body has two elements", [[], {}], {}, {}),
    ("body has four elements", [[], {}, {}, {}], {}, {}),
    ("args are an object", [{"x": "SECRET"}, {}, {}], {}, {}),
    ("kwargs are a list", [[], ["SECRET"], {}], {}, {}),
    ("kwargs are null", [[], None, {}], {}, {}),
    ("embed is a string", [[], {}, "SECRET"], {}, {}),
    ("chain is a number", [[], {}, {"chain": 7}], {}, {}),
    ("callbacks hold no signatures", [[], {}, {"callbacks": ["SECRET"]}], {}, {}),
    ("a step lacks what Celery's canvas reads", [[], {}, {"chain": [{"task": "SECRET"}]}], {}, {}),
    ("errbacks hold no task", [[], {}, {"errbacks": [{}]}], {}, {}),
    ("chord is a list", [[], {}, {"chord": []}], {}, {}),
    ("eta is no time", GOOD, {"eta": "tomorrow"}, {}),
    ("eta is a number", GOOD, {"eta": 12345}, {}),
    ("expires is an object", GOOD, {"expires": {}}, {}),
    ("timelimit is a string", GOOD, {"timelimit": "soon"}, {}),
    ("timelimit has strings", GOOD, {"timelimit": ["1", None]}, {}),
    ("stamps are a list", GOOD, {"stamps": [], "stamped_headers": ["a"]}, {}),
    ("shadow is a list", GOOD, {"shadow": ["x"]}, {}),
    ("retries is a string", GOOD, {"retries": "many"}, {}),
    ("root_id is an object", GOOD, {"root_id": {}}, {}),
    ("pickle", "gASVCAAAAAAAAABdlChLAUsCZS4=", {}, {"content-type": "application/x-python-serialize"}),
    ("yaml", "!!python/object:x", {}, {"content-type": "application/x-yaml"}),
    ("unknown content type", GOOD, {}, {"content-type": "text/klingon"}),
    ("unknown compression", GOOD, {"compression": "application/x-klingon"}, {}),
]

#: Shapes without an id that can be used: each is dropped.
WITHOUT_AN_ID: list[tuple[str, str, Any]] = [
    ("no headers", json.dumps(GOOD), {}),
    ("headers are null", json.dumps(GOOD), None),
    ("id is missing", json.dumps(GOOD), {"task": "gateway.call"}),
    ("id is a number", json.dumps(GOOD), {"task": "gateway.call", "id": 7}),
    ("id is empty", json.dumps(GOOD), {"task": "gateway.call", "id": ""}),
    ("id has a newline", json.dumps(GOOD), {"task": "gateway.call", "id": "one\nSECRET"}),
    ("id has a control character", json.dumps(GOOD), {"task": "gateway.call", "id": "one\x1b[31m SECRET"}),
    ("id is not ASCII", json.dumps(GOOD), {"task": "gateway.call", "id": "SECRET-\u202e"}),
    ("id is a little too long", json.dumps(GOOD), {"task": "gateway.call", "id": "x" * 201}),
    ("task is unknown, its id has a newline", json.dumps(GOOD), {"task": "who.knows", "id": "two\nSECRET"}),
    ("id is far too long", json.dumps(GOOD), {"task": "gateway.call", "id": "x" * 100_000}),
    ("protocol 1", json.dumps({"task": "gateway.call", "id": "one", "args": [], "kwargs": {"x": "SECRET"}}), {}),
    ("protocol 1 of an unknown task", json.dumps({"task": "who.knows", "args": []}), {}),
    ("task is unknown, no id", json.dumps(GOOD), {"task": "who.knows"}),
    ("task is a list", json.dumps(GOOD), {"task": [], "id": "two"}),
    ("task is null", json.dumps(GOOD), {"task": None, "id": "three"}),
]

#: Entries that are no message at all: the transport itself stumbles.
ENTRIES = ["SECRET garbage", "{}", "[]", "null", '{"body": "", "headers": [1], "properties": {"delivery_tag": "t"}}']


def test_malformed_messages_end_and_the_worker_lives(rig: Rig) -> None:
    worker = rig.worker()
    ids: dict[str, str] = {}
    for what, body, headers, envelope in WITH_AN_ID:
        ids[what] = str(uuid4())
        text = body if isinstance(body, str) else json.dumps(body)
        rig.raw(text, {"task": "gateway.call", "id": ids[what], "argsrepr": "SECRET"} | headers, **envelope)
    for what, text, raw_headers in WITHOUT_AN_ID:
        ids.setdefault(what, "")
        rig.raw(text, raw_headers)
    assert rig.send().get(timeout=20)["status"] == 200
    for what, call_id in ids.items():
        if call_id:
            with pytest.raises(InvalidCallError):
                pytest.fail(f"{what}: {rig.app.AsyncResult(call_id).get(timeout=10)}")
    rig.acknowledged()
    assert worker.exit_code is None
    assert "connection to broker lost" not in worker.output().lower()
    assert "SECRET" not in worker.output()
    assert len(rig.happened("started")) == 1
    assert len(WITH_AN_ID) + len(WITHOUT_AN_ID) == 46


@pytest.mark.parametrize(
    ("body", "headers"), [("7", {}), ("[1, 2]", {}), (json.dumps([[], {}, {}]), {"timelimit": "soon"})]
)
def test_a_malformed_message_of_an_ordinary_task_ends(rig: Rig, body: str, headers: dict[str, Any]) -> None:
    worker = rig.worker()
    call_id = str(uuid4())
    rig.raw(body, {"task": "tests.total", "id": call_id} | headers)
    with pytest.raises(InvalidCallError):
        rig.app.AsyncResult(call_id).get(timeout=10)
    rig.acknowledged()
    assert "connecting anew" not in worker.output()


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_that_is_no_message_costs_one_reconnect(rig: Rig, entry: str) -> None:
    worker = rig.worker()
    running = rig.send(sleep_s=0.5)
    eventually(lambda: rig.happened("started"), "a call runs")
    rig.broker.lpush("calls", entry)
    assert rig.send().get(timeout=20)["status"] == 200
    assert running.get(timeout=20)["status"] == 200
    rig.acknowledged()
    assert worker.exit_code is None


def test_a_refused_part_of_a_chord_does_not_hang_the_rest(rig: Rig) -> None:
    """The chord's body fails at once: its header's part is counted as failed."""
    rig.worker()
    call_id, chord_id = str(uuid4()), str(uuid4())
    errback = {"task": "tests.write", "args": [], "kwargs": {}, "options": {}, "immutable": True, "subtask_type": None}
    rig.raw(
        json.dumps(["no list", {}, {"errbacks": [errback]}]),
        {"task": "gateway.call", "id": call_id, "group": chord_id, "root_id": call_id},
    )
    with pytest.raises(InvalidCallError):
        rig.app.AsyncResult(call_id).get(timeout=10)
    eventually(lambda: rig.happened("written"), "its error callback ran")


@pytest.mark.parametrize("content_type", ["application/json", "application/x-python-serialize"])
def test_a_foreign_task_is_given_back(rig: Rig, content_type: str) -> None:
    worker = rig.worker()
    first = rig.send({"queue": "celery"})
    assert first.get(timeout=10)["status"] == 200
    foreign = str(uuid4())
    body = base64.b64encode(b"theirs").decode()
    envelope = {"content-type": content_type}
    rig.raw(body, {"task": "billing.charge", "id": foreign}, queue="celery", **envelope)
    eventually(lambda: "takes nothing more" in worker.output(), "it says so")
    assert rig.send().get(timeout=10)["status"] == 200
    rig.acknowledged()
    assert rig.queued("celery") == 1
    entry = json.loads(rig.broker.lindex("celery", 0) or "{}")
    assert (entry["headers"]["id"], entry["body"], entry["content-type"]) == (foreign, body, content_type)
    assert rig.app.AsyncResult(foreign).state == "PENDING"
    listens = rig.app.control.inspect([worker.name], timeout=3).active_queues() or {}
    assert [queue["name"] for queue in listens[worker.name]] == ["calls"]
    rig.raw(body, {"task": "billing.charge", "id": foreign}, queue="celery", **envelope)
    for _ in range(2):  # whatever it listened on, it would have been given by then
        assert rig.send().get(timeout=10)["status"] == 200
    assert rig.queued("celery") == 2
    assert worker.output().count("takes nothing more") == 1


def test_an_unknown_task_on_our_own_queue_fails(rig: Rig) -> None:
    worker = rig.worker()
    result = rig.app.send_task("who.knows\n\x1b[31m" + "x" * 1000, args=["SECRET"])
    with pytest.raises(Exception, match=r"who\.knows\?\?\[31mxxx"):
        result.get(timeout=10)
    rig.acknowledged()
    assert "SECRET" not in worker.output()
    assert "\x1b" not in worker.output()
    assert "x" * 200 not in worker.output()
