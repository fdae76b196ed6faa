"""Whatever lies in a queue: the worker goes on, and nothing that runs is run again."""

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import redis

from gateway import Gateway, RestCall
from gateway.codec import TASK
from gateway.errors import InvalidCallError
from tests.integration.stack import Stack
from workers.broker.redis import ASIDE_KEY, readable

#: RabbitMQ takes nothing that is no message.
on_redis = pytest.mark.parametrize("stack", ["redis"], indirect=True, scope="session")

CALL = {"protocol": "rest", "service": "user-service", "method": "GET", "route": "/users"}


def message(**changes: Any) -> dict[str, Any]:
    call_id = str(uuid4())
    sound: dict[str, Any] = {
        "body": json.dumps([[], {"version": 1, "call": CALL}, {}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"id": call_id, "task": TASK, "lang": "py", "argsrepr": "", "kwargsrepr": "", "retries": 0},
        "properties": {
            "correlation_id": call_id,
            "delivery_mode": 2,
            "delivery_tag": call_id,
            "delivery_info": {"exchange": "", "routing_key": "gateway"},
            "body_encoding": None,
            "priority": 0,
        },
    }
    for place, value in changes.items():
        *path, last = place.split("__")
        target = sound
        for step in path:
            target = target[step.replace("_", "-") if step == "content_type" else step]
        target[last] = value
    return sound


BROKEN: list[object] = [
    message(properties=None),
    message(properties=[]),
    message(properties={}),
    message(properties__delivery_tag=None),
    message(properties__delivery_tag=7),
    message(properties__delivery_tag={}),
    message(properties__delivery_info=None),
    message(properties__delivery_info="x"),
    message(properties__delivery_info={"exchange": 3}),
    message(properties__body_encoding="base65"),
    message(properties__body_encoding="base64", body="A"),
    message(headers=None),
    message(headers=[1]),
    message(body=None),
    message(body=[1]),
    message(body={"a": 1}),
    [1],
    {},
    None,
    3,
    "text",
    {"__type__": "zzz", "__value__": 1},
]


def test_what_is_sound_is_seen_as_such() -> None:
    assert readable(message())
    assert [entry for entry in BROKEN if readable(entry)] == []


@pytest.fixture
def store(stack: Stack) -> "redis.Redis":
    return redis.Redis.from_url(stack.settings.broker_url)


def eventually(condition: Callable[[], object], *, timeout: float = 15.0) -> None:
    ends = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.02)


@on_redis
def test_no_entry_of_a_queue_redelivers_what_runs(stack: Stack, store: "redis.Redis") -> None:
    gateway: Gateway = stack.gateway
    names = [f"in-flight-{uuid4()}" for _ in range(10)]
    slow = RestCall("user-service", "POST", "/echo", json={}, headers={"x-demo-behaviour": "slow=2500"})
    running = [gateway.submit(slow, correlation_id=name) for name in names]
    eventually(lambda: all(call.state == "running" for call in running))

    queues = ("gateway", "celery", "gateway.user-service")
    for number, entry in enumerate([*BROKEN, b"\xff\xfe", b"", b"{", b"garbage"]):
        raw = entry if isinstance(entry, bytes) else json.dumps(entry)
        store.rpush(queues[number % 3], raw)

    assert [call.result(20).status for call in running] == [200] * 10
    eventually(lambda: all(store.llen(queue) == 0 for queue in queues))
    for name in names:
        arrived = gateway.submit(RestCall("user-service", "GET", "/stats", query={"correlation_id": name})).result(20)
        assert len(arrived.data) == 1
    assert stack.worker.exit_code is None
    assert "Connection to broker lost" not in stack.worker.output()
    assert int(store.llen(ASIDE_KEY)) >= len(BROKEN)
    eventually(lambda: store.hlen("unacked") == 0)


@on_redis
@pytest.mark.parametrize(
    "entry",
    [
        message(properties__delivery_tag=None),
        message(properties__body_encoding="base64", body="A"),
        message(body=None),
    ],
)
def test_who_waits_for_a_broken_message_gets_an_error(
    stack: Stack, store: "redis.Redis", entry: dict[str, Any]
) -> None:
    entry["headers"]["id"] = call_id = str(uuid4())
    store.rpush("gateway", json.dumps(entry))
    with pytest.raises(InvalidCallError):
        stack.gateway.pending(call_id).result(timeout=15)
