"""Outcomes that are none of ours, come late, or are asked for from a record that is not whole."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.exceptions import NotRegistered, TaskRevokedError

from gateway import CallState, Gateway, Settings
from gateway import pending as pending_module
from gateway.dev.valkey import Valkey
from gateway.errors import (
    CallCancelledError,
    DeadlineExceededError,
    Delivery,
    GatewayFaultError,
    OutcomeUnknownError,
    ServiceError,
    ServiceRejectedError,
    ServiceTimeoutError,
)
from gateway.records import key_of
from tests.servers.proxy import Proxy

REPLY = {
    "data": 1,
    "status": 200,
    "headers": {},
    "attempts": 1,
    "timing": {},
    "correlation_id": "c",
    "request_id": "r",
    "service": "s",
    "operation": "GET /",
    "protocol": "rest",
    "call_id": "a",
}
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # Celery's own
ID = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def gateway(store: Valkey) -> Iterator[Gateway]:
    with Gateway(Settings(broker_url=store.url(), result_url=store.url())) as made:
        yield made


def put(gateway: Gateway, value: object, status: str) -> None:
    """Store a result as Celery does."""
    backend: Any = gateway.celery.backend
    backend.store_result(ID, value, status)


@pytest.mark.parametrize(
    ("stored", "status", "error", "delivery", "state"),
    [
        (NotRegistered("gateway.call"), "FAILURE", GatewayFaultError, Delivery.NOT_SENT, CallState.DONE),
        (WorkerLostError("signal 9"), "FAILURE", GatewayFaultError, Delivery.MAYBE_SENT, CallState.DONE),
        (KeyError("x"), "FAILURE", GatewayFaultError, Delivery.MAYBE_SENT, CallState.DONE),
        (SystemExit(3), "FAILURE", GatewayFaultError, Delivery.MAYBE_SENT, CallState.DONE),
        (SoftTimeLimitExceeded(9), "FAILURE", ServiceTimeoutError, Delivery.MAYBE_SENT, CallState.DONE),
        (TimeLimitExceeded(9), "FAILURE", ServiceTimeoutError, Delivery.MAYBE_SENT, CallState.DONE),
        (TaskRevokedError("expired"), "REVOKED", DeadlineExceededError, Delivery.NOT_SENT, CallState.DONE),
        (TaskRevokedError("revoked"), "REVOKED", CallCancelledError, Delivery.MAYBE_SENT, CallState.CANCELLED),
        (TaskRevokedError("terminated"), "REVOKED", CallCancelledError, Delivery.MAYBE_SENT, CallState.CANCELLED),
        (CallCancelledError("by its record"), "FAILURE", CallCancelledError, Delivery.NOT_SENT, CallState.CANCELLED),
        (
            ServiceRejectedError("no", delivery=Delivery.ANSWERED),
            "FAILURE",
            ServiceRejectedError,
            Delivery.ANSWERED,
            CallState.DONE,
        ),
        ({"another": "task's"}, "SUCCESS", GatewayFaultError, Delivery.MAYBE_SENT, CallState.DONE),
        (7, "SUCCESS", GatewayFaultError, Delivery.MAYBE_SENT, CallState.DONE),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseException) else None,
)
def test_every_stored_error_is_a_typed_one(
    gateway: Gateway, stored: object, status: str, error: type[ServiceError], delivery: Delivery, state: CallState
) -> None:
    put(gateway, stored, status)
    pending = gateway.pending(ID)
    with pytest.raises(ServiceError) as caught:
        pending.result(timeout=5)
    assert (type(caught.value), caught.value.delivery) == (error, delivery)
    assert pending.state is state


@pytest.mark.parametrize("payload", [b"not json", b"[]", b'{"status": "FAILURE"}', b'{"status": "SUCCESS"}'])
def test_what_cannot_be_read_is_a_typed_error_too(gateway: Gateway, store: Valkey, payload: bytes) -> None:
    with redis.Redis.from_url(store.url()) as client:
        client.set(f"celery-task-meta-{ID}", payload)
    with pytest.raises(GatewayFaultError):
        gateway.pending(ID).result(timeout=5)


@pytest.mark.parametrize(("status", "value"), [("STARTED", {"pid": 1}), ("RETRY", KeyError("x")), ("PROGRESS", 1)])
def test_a_note_on_the_way_is_no_outcome(gateway: Gateway, status: str, value: object) -> None:
    put(gateway, value, status)
    pending = gateway.pending(ID)
    with pytest.raises(TimeoutError, match=ID):
        pending.result(timeout=0.3)
    assert pending.state in (CallState.RUNNING, CallState.PENDING)
    assert pending.cancel(), "it has no outcome that would forbid it"
    backend: Any = gateway.celery.backend
    with redis.Redis.from_url(gateway.settings.result_url) as client:
        client.delete(backend.get_key_for_task(ID))
    put(gateway, REPLY, "SUCCESS")
    assert pending.result(timeout=5).data == 1


def test_no_patience_at_all_finds_what_is_there(gateway: Gateway) -> None:
    put(gateway, REPLY, "SUCCESS")
    assert gateway.pending(ID).result(timeout=0).status == 200


async def test_no_patience_at_all_finds_what_is_there_without_blocking(gateway: Gateway) -> None:
    put(gateway, REPLY, "SUCCESS")
    reply = await gateway.pending(ID).aresult(timeout=0)
    assert reply.status == 200


def test_a_stored_outcome_is_found_although_its_notification_was_swallowed(store: Valkey) -> None:
    with Proxy(store.port) as proxy, Gateway(Settings(broker_url=store.url(), result_url=proxy.url())) as gateway:
        pending = gateway.pending(ID)
        with pytest.raises(TimeoutError):
            pending.result(timeout=0.5)
        assert proxy.accepted >= 2, "it waited"
        proxy.swallow()
        gateway._results._client.connection_pool.disconnect()
        with redis.Redis.from_url(store.url()) as client:
            meta: dict[str, Any] = {
                "status": "SUCCESS",
                "result": REPLY,
                "traceback": None,
                "children": [],
                "task_id": ID,
            }
            client.set(f"celery-task-meta-{ID}", json.dumps(meta))
        started = time.monotonic()
        # Before the waiter has noticed.
        assert pending.result(timeout=1).status == 200
        assert time.monotonic() - started < 4


@pytest.mark.parametrize("record", [{"state": "running"}, {"state": "running", "worker": "w"}])
def test_a_running_call_without_a_deadline_on_record_is_waited_for(
    gateway: Gateway, store: Valkey, record: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_module, "DEFAULT_DEADLINE_S", 0.3)
    monkeypatch.setattr(pending_module, "RESULT_MARGIN_S", 0.1)
    with redis.Redis.from_url(store.url()) as client:
        client.hset(key_of(ID), mapping=dict(record))
    pending = gateway.pending(ID)
    assert pending.state is CallState.RUNNING
    started = time.monotonic()
    with pytest.raises(OutcomeUnknownError, match=r"no outcome after 0\.4 s; it is running"):
        pending.result()
    assert time.monotonic() - started > 0.3
    assert pending.deadline_at is None, "a guess is not kept"
    put(gateway, REPLY, "SUCCESS")
    assert pending.result().status == 200
