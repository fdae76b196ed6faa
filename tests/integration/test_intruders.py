"""What somebody can do who reaches the broker and has no key, or a key of another caller: nothing to anybody's call."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from gateway import RestCall
from gateway.dev.valkey import Valkey
from gateway.errors import CallRejectedError
from gateway.routing import FRONT_QUEUE
from tests.integration.callers_stack import CallersStack, body_of, with_body
from tests.integration.pool_rig import eventually
from tests.servers.conduct import Conduct

EVIL: dict[str, Any] = {
    "task": "otherapp.evil",
    "args": [],
    "kwargs": {},
    "options": {"queue": "otherapp"},
    "subtask_type": None,
    "immutable": True,
}
NOTHING: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@pytest.fixture(scope="module")
def callers(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CallersStack]:
    with CallersStack(valkey, tmp_path_factory.mktemp("callers")) as made:
        yield made


@pytest.fixture
def path() -> str:
    return f"/users/{uuid4().hex}"


def written(callers: CallersStack, call_id: str, task: str, body: list[Any]) -> dict[str, Any]:
    """A message that nobody signed."""
    like = callers.capture(callers.known("orders"), RestCall("users", "GET", "/users/like"))
    message = with_body(like, body)
    message["headers"] |= {"id": call_id, "root_id": call_id, "task": task}
    message["properties"]["correlation_id"] = call_id
    return message


def unsigned(path: str) -> dict[str, Any]:
    return {"version": 1, "call": {"protocol": "rest", "service": "users", "method": "GET", "route": path}}


def enqueued_elsewhere(callers: CallersStack) -> int:
    with redis.Redis.from_url(callers.environment["GATEWAY_BROKER_URL"]) as broker:
        return int(broker.llen("otherapp"))


@pytest.mark.parametrize("kind", ["a built-in task", "an unsigned call", "what cannot be read", "an unknown task"])
def test_a_call_in_flight_ends_as_its_service_says(callers: CallersStack, path: str, kind: str) -> None:
    callers.service.behave(path, Conduct(status=201, delay_s=1.5))
    pending = callers.known("orders").submit(RestCall("users", "POST", path, json={}), deadline=20.0)
    eventually(lambda: callers.service.arrivals(path), "it is under way")
    forged = {"status": 200, "data": {"paid": True}}
    message = {
        "a built-in task": lambda: written(callers, pending.id, "celery.accumulate", [[forged], {"index": 0}, NOTHING]),
        "an unsigned call": lambda: written(callers, pending.id, "gateway.call", [[], unsigned(path), NOTHING]),
        "what cannot be read": lambda: written(callers, pending.id, "gateway.call", ["x"]),
        "an unknown task": lambda: written(callers, pending.id, "otherapp.task", [[], {}, NOTHING]),
    }[kind]()
    callers.enqueue(message)
    assert pending.result(timeout=20).status == 201
    assert len(callers.service.arrivals(path)) == 1


def test_a_built_in_task_is_not_run(callers: CallersStack, path: str) -> None:
    call_id = str(uuid4())
    body = [["forged"], {"index": 0}, {**NOTHING, "callbacks": [EVIL]}]
    callers.enqueue(written(callers, call_id, "celery.accumulate", body))
    store: Any = redis.Redis.from_url(callers.environment["GATEWAY_RESULT_URL"])
    eventually(lambda: store.exists(f"celery-task-meta-{call_id}"), "it is refused")
    assert json.loads(store.get(f"celery-task-meta-{call_id}"))["status"] == "FAILURE"
    store.close()
    assert enqueued_elsewhere(callers) == 0


@pytest.mark.parametrize("wired", ["errbacks", "callbacks", "chain"])
@pytest.mark.parametrize("readable", [True, False])
def test_nothing_is_enqueued_for_whoever_has_no_key(
    callers: CallersStack, path: str, wired: str, readable: bool
) -> None:
    call_id = str(uuid4())
    body = [[] if readable else {"no": "list"}, unsigned(path), {**NOTHING, wired: [EVIL]}]
    callers.enqueue(written(callers, call_id, "gateway.call", body))
    store: Any = redis.Redis.from_url(callers.environment["GATEWAY_RESULT_URL"])
    eventually(lambda: store.exists(f"celery-task-meta-{call_id}"), "it is refused")
    store.close()
    # What the worker does next comes after what it might have enqueued.
    assert callers.known("orders").submit(RestCall("users", "GET", path)).result(timeout=20).status == 200
    assert enqueued_elsewhere(callers) == 0


def test_another_caller_cannot_take_a_call_over(callers: CallersStack, path: str) -> None:
    """It signs a call of its own with the id of somebody else's, which was submitted and has not begun."""
    mine = callers.known("orders").submit(RestCall("users", "GET", path), deadline=20.0)
    assert mine.result(timeout=20).status == 200
    theirs = callers.capture(callers.known("billing"), RestCall("users", "GET", f"{path}/theirs"))
    args, kwargs, embed = body_of(theirs)
    store: Any = redis.Redis.from_url(callers.environment["GATEWAY_RESULT_URL"], decode_responses=True)
    victim = str(uuid4())
    store.hset(f"gateway:call:{victim}", mapping={"state": "pending", "caller": "orders", "deadline_at": "4e9"})
    app: Any = callers.known("billing").celery
    signer = app.call_signer
    kwargs.pop("signature")
    signed, wired = signer.message(victim, args, kwargs, embed)
    message = with_body(theirs, [args, signed, wired])
    message["headers"] |= {"id": victim, "root_id": victim}
    callers.enqueue(message)
    eventually(lambda: "another caller" in callers.worker.output(), "it is dropped")
    assert callers.service.arrivals(f"{path}/theirs") == []
    assert not store.exists(f"celery-task-meta-{victim}")
    store.close()


@pytest.mark.parametrize(
    ("route", "values"),
    [("/users/{id}", {"id": "1/cards"}), ("/users/1%2Fcards", {}), ("/users/{id}", {"id": "1%2fcards"})],
)
def test_an_encoded_slash_is_no_way_around(callers: CallersStack, route: str, values: dict[str, str]) -> None:
    with pytest.raises(CallRejectedError, match="encoded slash") as caught:
        callers.known("orders").submit(RestCall("other", "GET", route, path=values)).result(timeout=20)
    assert caught.value.details["reason"] == "forbidden"
    # Where all below is allowed, it is no matter.
    assert callers.known("orders").submit(RestCall("users", "GET", route, path=values)).result(timeout=20).status == 200


def test_the_queue_still_works(callers: CallersStack, path: str) -> None:
    with redis.Redis.from_url(callers.environment["GATEWAY_BROKER_URL"]) as broker:
        eventually(lambda: broker.llen(FRONT_QUEUE) == 0, "nothing is left")
    assert callers.known("billing").submit(RestCall("users", "GET", path)).result(timeout=20).status == 200
