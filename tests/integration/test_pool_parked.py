"""A call that is parked leaves its worker, and comes back once and unchanged."""

import base64
import json
import time
from typing import Any

import pytest
from celery import chain, chord

from gateway import Gateway
from gateway.errors import CallCancelledError, Delivery, GatewayFaultError, ServiceUnavailableError
from gateway.fleet_keys import parked, parked_messages
from gateway.records import CallState, key_of
from gateway.settings import Settings
from tests.integration.parked_calls import SERVICE, UNPARKS, hold, let_go, lot
from tests.integration.pool_rig import CALL, Rig, eventually
from tests.integration.test_pool_calls import call_signature, captured_events


def test_a_parked_call_comes_back_once_and_has_its_reply(rig: Rig) -> None:
    rig.worker(env=UNPARKS)
    hold(rig)
    result = rig.send(park=1, say="hello")
    eventually(lambda: lot(rig) == (1, 1, 1), "it is parked")
    rig.acknowledged()
    record = rig.results.hgetall(key_of(result.id))
    assert (record["state"], record["parks"], record["lease_until"]) == ("parked", "1", "0")
    assert rig.results.smembers("gateway:services") == {SERVICE}
    assert result.state == "PENDING"
    let_go(rig)
    assert result.get(timeout=10)["data"] == {"said": "hello", "earlier": 0}
    rig.acknowledged()
    eventually(lambda: lot(rig) == (0, 0, 0), "nothing of it is left")
    assert rig.happened("started") == [result.id]


def test_park_again_and_again(rig: Rig) -> None:
    rig.worker(env=UNPARKS)
    result = rig.send(park=4, for_s=0.2)
    began = time.monotonic()
    assert result.get(timeout=20)["status"] == 200
    assert time.monotonic() - began >= 0.8
    assert len(rig.happened("parked")) == 4
    assert rig.happened("came-back-4") == [result.id]
    rig.acknowledged()


def test_what_is_no_message_holds_up_no_other(rig: Rig) -> None:
    worker = rig.worker(env=UNPARKS)
    junk = {"junk-1": "no JSON", "junk-2": '{"parks":1,"maybe":0,"v":1}', "junk-3": "[]", "no-record": "no JSON"}
    for call_id, packed in junk.items():
        if call_id != "no-record":
            rig.results.hset(key_of(call_id), mapping={"state": "parked", "deadline_at": time.time() + 60})
        rig.results.hset(parked_messages(SERVICE), call_id, packed)
        rig.results.zadd(parked(SERVICE), {call_id: 1})
    assert rig.send(park=1).get(timeout=10)["status"] == 200
    eventually(lambda: lot(rig) == (0, 0, 0), "the junk is gone")
    assert worker.output().count("is lost: its parked message cannot be read") == 4
    for call_id in ("junk-1", "junk-2", "junk-3"):
        with pytest.raises(GatewayFaultError, match="cannot be read any more") as raised:
            rig.app.AsyncResult(call_id).get(timeout=5)
        assert (
            raised.value.fields
            == GatewayFaultError(
                raised.value.message, service=SERVICE, delivery=Delivery.MAYBE_SENT, call_id=call_id
            ).fields
        )
    assert rig.app.AsyncResult("no-record").state == "PENDING"


def test_what_has_its_outcome_keeps_it_though_its_message_is_none(rig: Rig) -> None:
    rig.worker(env=UNPARKS)
    result = rig.send(fail="down")
    with pytest.raises(ServiceUnavailableError):
        result.get(timeout=10)
    rig.results.hset(key_of(result.id), "state", "parked")
    rig.results.hset(parked_messages(SERVICE), result.id, "no JSON")
    rig.results.zadd(parked(SERVICE), {result.id: 1})
    eventually(lambda: lot(rig) == (0, 0, 0), "the junk is gone")
    with pytest.raises(ServiceUnavailableError):
        rig.app.AsyncResult(result.id).get(timeout=5)


def test_operators_see_why_it_is_parked(rig: Rig) -> None:
    rig.worker(env=UNPARKS)
    with captured_events(rig) as seen:
        result = rig.send(park=1, for_s=0.3, say="SECRET")
        result.get(timeout=10)
        eventually(lambda: [one for one in seen if one["type"] == "task-succeeded"], "it succeeded")
    events = [one for one in seen if one.get("uuid") == result.id]
    assert [one["type"] for one in events] == [
        *("task-received", "task-started", "task-retried"),
        *("task-received", "task-started", "task-succeeded"),
    ]
    retried = events[2]
    assert retried["exception"].startswith("parked: the breaker is open, until ")
    assert retried["exception"].endswith(" UTC")
    assert retried["result"] == retried["exception"]
    assert retried["traceback"] is None
    assert "SECRET" not in json.dumps(events)


def test_a_dropped_message_is_acknowledged_and_leaves_nothing(rig: Rig) -> None:
    rig.worker(env=UNPARKS)
    with captured_events(rig) as seen:
        result = rig.send(drop=True)
        eventually(lambda: rig.happened("dropped"), "it is dropped")
        rig.acknowledged()
        rig.send().get(timeout=10)
    assert [one["type"] for one in seen if one.get("uuid") == result.id] == ["task-received", "task-started"]
    assert result.state == "PENDING"


def raw_message(rig: Rig, call_id: str, **do: Any) -> tuple[str, dict[str, Any]]:
    """A message whose JSON no serializer would write like that: it has to come back as it is."""
    kwargs = {"call": CALL, "do": do, "numbers": [12345678901234567890, 1e300], "empty": [], "text": "ä\u2028/\\u0041"}
    body = json.dumps([[], kwargs, {"callbacks": None, "chain": [], "chord": None}], indent=1, ensure_ascii=False)
    headers = {
        "task": "gateway.call",
        "id": call_id,
        "root_id": call_id,
        "lang": "py",
        "empty": [],
        "x-own": {"n": 12345678901234567890, "nothing": None},
        "timelimit": [None, None],
    }
    return body, headers


def test_the_message_comes_back_unchanged(rig: Rig) -> None:
    worker = rig.worker(env=UNPARKS)
    hold(rig)
    body, headers = raw_message(rig, "raw-1", park=1)
    rig.raw(body, headers, properties={**PROPERTIES, "correlation_id": "raw-1", "reply_to": "me", "priority": 3})
    eventually(lambda: lot(rig) == (1, 1, 1), "it is parked")
    rig.acknowledged()
    rig.worker(env=UNPARKS, queues=["elsewhere"])
    worker.stop()
    let_go(rig)
    entry = json.loads(eventually(lambda: rig.broker.lindex("calls\x06\x163", 0), "its message is in its queue again"))
    assert base64.b64decode(entry["body"]).decode() == body
    assert entry["headers"] == {**headers, "gateway_parks": 1, "gateway_maybe": 0}
    assert (entry["content-type"], entry["content-encoding"]) == ("application/json", "utf-8")
    sent = entry["properties"]
    assert (sent["correlation_id"], sent["reply_to"], sent["priority"]) == ("raw-1", "me", 3)


PROPERTIES = {
    "delivery_tag": "raw-tag",
    "delivery_mode": 2,
    "delivery_info": {"exchange": "", "routing_key": "calls"},
}


def test_a_chain_whose_first_step_is_parked_goes_on(rig: Rig) -> None:
    rig.worker(env=UNPARKS)
    steps = chain(call_signature(rig, park=1, for_s=0.1), call_signature(rig), rig.app.signature("tests.total"))
    assert steps.apply_async().get(timeout=15) == 1
    assert len(rig.happened("started")) == 2


def test_a_chord_with_parked_calls_is_complete(rig: Rig) -> None:
    rig.worker(env=UNPARKS)
    header = [call_signature(rig, park=number % 2, for_s=0.1) for number in range(4)]
    assert chord(header)(rig.app.signature("tests.total", app=rig.app)).get(timeout=15) == 4
    assert len(rig.happened("started")) == 4


def test_callbacks_of_a_parked_call_run_once(rig: Rig) -> None:
    rig.worker(env=UNPARKS)
    write = rig.app.signature("tests.write", app=rig.app, immutable=True)
    rig.send({"link": write}, park=2, for_s=0.1)
    rig.send({"link_error": write}, park=1, for_s=0.1, fail="down")
    eventually(lambda: len(rig.happened("written")) == 2, "both callbacks ran")
    rig.acknowledged()
    assert len(rig.happened("written")) == 2


def test_a_revoked_call_ends_when_it_comes_back(rig: Rig) -> None:
    rig.worker(env=UNPARKS)
    hold(rig)
    never, perhaps = rig.send(park=1), rig.send(park=1, maybe=True)
    eventually(lambda: lot(rig)[0] == 2, "both are parked")
    rig.acknowledged()
    for one in (never, perhaps):
        rig.app.control.revoke(one.id, terminate=True)
    let_go(rig)
    for one, delivery in ((never, Delivery.NOT_SENT), (perhaps, Delivery.MAYBE_SENT)):
        with pytest.raises(CallCancelledError) as raised:
            one.get(timeout=10)
        assert raised.value.delivery is delivery
    assert not rig.happened("started")


@pytest.mark.parametrize(("maybe", "delivery"), [(False, Delivery.NOT_SENT), (True, Delivery.MAYBE_SENT)])
def test_a_parked_call_that_is_cancelled_ends_at_once(rig: Rig, maybe: bool, delivery: Delivery) -> None:
    rig.worker(env=UNPARKS)
    hold(rig)
    call_id = rig.send(park=1, maybe=maybe).id
    eventually(lambda: lot(rig) == (1, 1, 1), "it is parked")
    with Gateway(Settings(broker_url=rig.urls[0], result_url=rig.urls[1])) as gateway:
        pending = gateway.pending(call_id)
        assert pending.state is CallState.PARKED
        assert pending.cancel()
        with pytest.raises(CallCancelledError) as raised:
            pending.result(timeout=5)
        assert raised.value.delivery is delivery
        assert gateway.pending(call_id).state is CallState.CANCELLED
    rig.acknowledged()
    assert lot(rig) == (0, 0, 0)


@pytest.mark.parametrize("way", ["revoke", "soft limit", "hard limit"])
def test_what_would_end_a_call_waits_while_it_is_being_parked(rig: Rig, way: str) -> None:
    rig.worker(env=UNPARKS)
    limits = {"soft limit": {"soft_time_limit": 0.3}, "hard limit": {"time_limit": 0.3}}.get(way, {})
    result = rig.send(limits, park=1, park_s=1.0)
    eventually(lambda: rig.happened("parking"), "it is being parked")
    if way == "revoke":
        rig.app.control.revoke(result.id, terminate=True)
        with pytest.raises(CallCancelledError):
            result.get(timeout=10)
    else:
        assert result.get(timeout=10)["status"] == 200
    assert len(rig.happened("parked")) == 1
    rig.acknowledged()
    assert lot(rig) == (0, 0, 0)
