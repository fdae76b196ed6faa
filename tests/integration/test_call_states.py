"""What is told of a call when it has ended long ago, as its record and its result expire one after the other."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway import CallState, Gateway, PendingCall, RestCall, Settings
from gateway.dev.valkey import Valkey
from gateway.errors import Delivery, OutcomeUnknownError
from gateway.records import GRACE_S, RESULT_EXPIRES_S, key_of

CALL = RestCall("users", "GET", "/")
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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("store"))
    yield server
    server.stop()


@pytest.fixture
def gateway(store: Valkey) -> Iterator[Gateway]:
    with redis.Redis.from_url(store.url()) as client:
        client.flushall()
    with Gateway(Settings(broker_url=store.url(), result_url=store.url())) as made:
        yield made


@pytest.fixture
def records(store: Valkey) -> Iterator[Any]:
    with redis.Redis.from_url(store.url(), decode_responses=True) as client:
        yield client


def age(records: Any, call_id: str, seconds: float) -> None:
    """Make a call's record say that all of it was so much earlier."""
    key = key_of(call_id)
    for field in ("submitted_at", "deadline_at"):
        if records.hexists(key, field):
            records.hset(key, field, float(records.hget(key, field)) - seconds)


def put(gateway: Gateway, call_id: str) -> None:
    """Store a result as Celery does."""
    backend: Any = gateway.celery.backend
    backend.store_result(call_id, REPLY, "SUCCESS")


def state(pending: PendingCall) -> CallState:
    """Asked anew."""
    return pending.state


def no_outcome(pending: PendingCall, said: str, **options: Any) -> None:
    began = time.monotonic()
    with pytest.raises(OutcomeUnknownError, match=said) as caught:
        pending.result(**options)
    assert time.monotonic() - began < 2, "nobody waits for what cannot come"
    assert (caught.value.call_id, caught.value.delivery) == (pending.id, Delivery.MAYBE_SENT)


def test_the_states_of_a_call_in_their_order(gateway: Gateway, records: Any) -> None:
    call_id = gateway.submit(CALL).id
    pending = gateway.pending(call_id)
    assert state(pending) is CallState.PENDING
    records.hset(key_of(call_id), "state", "running")
    assert state(pending) is CallState.RUNNING
    records.hset(key_of(call_id), "state", "parked")
    assert state(pending) is CallState.PARKED
    put(gateway, call_id)
    assert state(pending) is CallState.DONE
    age(records, call_id, RESULT_EXPIRES_S + 10)
    assert state(pending) is CallState.DONE, "its result is there"
    records.delete(f"celery-task-meta-{call_id}")
    assert state(pending) is CallState.EXPIRED
    no_outcome(pending, rf"the result of call {call_id} has expired: it is kept for 25 h")
    no_outcome(gateway.pending(call_id), "has expired", timeout=0.0)
    records.delete(key_of(call_id))
    assert state(pending) is CallState.UNKNOWN
    no_outcome(gateway.pending(call_id), f"nothing is known of call {call_id}")


@pytest.mark.parametrize("recorded", ["pending", "running", "parked"])
def test_a_call_is_not_expired_before_its_result_can_be(gateway: Gateway, records: Any, recorded: str) -> None:
    call_id = gateway.submit(CALL).id
    records.hset(key_of(call_id), "state", recorded)
    age(records, call_id, RESULT_EXPIRES_S - 30)
    assert gateway.pending(call_id).state is CallState(recorded)
    age(records, call_id, 31)
    assert gateway.pending(call_id).state is CallState.EXPIRED


def test_a_call_that_was_cancelled_stays_so(gateway: Gateway, records: Any) -> None:
    pending = gateway.submit(CALL)
    assert pending.cancel()
    age(records, pending.id, RESULT_EXPIRES_S + 10)
    assert gateway.pending(pending.id).state is CallState.CANCELLED


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"deadline_at": -7200.0}, CallState.EXPIRED),  # seconds from now
        ({"deadline_at": -3500.0}, CallState.RUNNING),
        ({}, CallState.RUNNING),
    ],
)
def test_a_record_that_a_worker_made(gateway: Gateway, records: Any, record: dict[str, float], told: CallState) -> None:
    # Of a message of a producer without this package: it says at most when the call ends.
    now = gateway._results.now()
    fields = {name: now + seconds for name, seconds in record.items()}
    records.hset(key_of("plain"), mapping={"state": "running", **fields})
    assert gateway.pending("plain").state is told


async def test_a_result_that_has_expired_is_awaited_in_vain(gateway: Gateway, records: Any) -> None:
    call_id = gateway.submit(CALL).id
    age(records, call_id, RESULT_EXPIRES_S + 10)
    with pytest.raises(OutcomeUnknownError, match="has expired"):
        await gateway.pending(call_id)


def test_the_record_outlives_the_result(gateway: Gateway, records: Any) -> None:
    pending = gateway.submit(CALL, deadline=5.0)
    put(gateway, pending.id)
    left = records.ttl(key_of(pending.id)) - records.ttl(f"celery-task-meta-{pending.id}")
    assert GRACE_S - 2 <= left <= GRACE_S + 7
    assert records.ttl(f"celery-task-meta-{pending.id}") > 24 * 3600 + 5, "longer than the longest deadline"


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path, append_only=True)
    yield server
    server.stop()


def test_a_handle_from_before_goes_on_after_a_restart(mortal: Valkey) -> None:
    with Gateway(Settings(broker_url=mortal.url(), result_url=mortal.url())) as gateway:
        pending = gateway.submit(CALL, deadline=60.0)
        with redis.Redis.from_url(mortal.url()) as client:
            client.config_set("appendfsync", "always")
            client.set("flush", 1)
        mortal.process.kill()
        mortal.restart()
        assert state(pending) is CallState.PENDING
        put(gateway, pending.id)
        assert pending.result(timeout=15).status == 200
        assert state(pending) is CallState.DONE
