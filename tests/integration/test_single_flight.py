"""Submits of one caller with one idempotency key: one execution, one result."""

import asyncio
import json
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.exceptions import TaskRevokedError

from gateway import CallState, Gateway, RestCall, Settings, single_flight
from gateway.dev.process import free_port
from gateway.dev.valkey import Valkey
from gateway.errors import (
    CircuitOpenError,
    Delivery,
    GatewayUnavailableError,
    InvalidCallError,
    OutcomeUnknownError,
    ServiceError,
    ServiceRejectedError,
    ServiceUnavailableError,
)
from gateway.idempotency import Claim
from gateway.intake import Intake
from gateway.pending import PendingCall
from gateway.records import GRACE_S, RESULT_EXPIRES_S, key_of
from tests.integration.single_flights import CHARGE, race
from tests.integration.stack import Stack
from tests.servers.proxy import Proxy

OTHER = RestCall("user-service", "POST", "/echo", json={"amount": 2})
KEY = "order-42"
REPLY: dict[str, Any] = {
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
_ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # Celery's own

Make = Callable[..., Gateway]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, without a worker: broker in database 0, results in database 1."""
    server = Valkey(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def make(store: Valkey) -> Iterator[Make]:
    with ExitStack() as open_ones:

        def one(caller: str | None = "orders", broker: str | None = None, result: str | None = None) -> Gateway:
            settings = Settings(broker_url=broker or store.url(0), result_url=result or store.url(1), caller=caller)
            return open_ones.enter_context(Gateway(settings))

        yield one


def queued(store: Valkey) -> list[dict[str, Any]]:
    """The messages on the broker, oldest first: id and keyword arguments."""
    with redis.Redis.from_url(store.url(0)) as client:
        texts: Any = client.lrange("gateway", 0, -1)
    messages = [json.loads(text) for text in reversed(texts)]
    return [{"id": message["headers"]["id"], **json.loads(b64decode(message["body"]))[1]} for message in messages]


def keys(store: Valkey) -> list[str]:
    with redis.Redis.from_url(store.url(1)) as client:
        return sorted(key.decode() for key in client.scan_iter("gateway:*"))


def end(gateway: Gateway, pending: PendingCall, value: object, status: str = "FAILURE") -> None:
    """Store an outcome as Celery does."""
    backend: Any = gateway.celery.backend
    backend.store_result(pending.id, value, status)


def test_two_submits_share_one_call(store: Valkey, make: Make) -> None:
    gateway, another = make(), make()
    first = gateway.submit(CHARGE, idempotency_key=KEY, deadline=20.0)
    second = another.submit(CHARGE, idempotency_key=KEY, deadline=60.0)
    assert (second.id, second.deadline_at) == (first.id, first.deadline_at)
    # It may never have been enqueued, so it is once more: the same call, and its deadline.
    messages = queued(store)
    assert [message["id"] for message in messages] == [first.id] * 2
    assert {message["deadline_at"] for message in messages} == {first.deadline_at}
    assert {message["idempotency_key"] for message in messages} == {KEY}
    end(gateway, first, REPLY, "SUCCESS")
    third = another.submit(CHARGE, idempotency_key=KEY)
    assert third.id == first.id
    assert [pending.result(timeout=5).data for pending in (first, second, third)] == [1, 1, 1]
    assert len(queued(store)) == 2, "what has its answer is not enqueued"


def test_a_key_is_a_callers_own(store: Valkey, make: Make) -> None:
    ids = {make(caller).submit(CHARGE, idempotency_key=KEY).id for caller in ("orders", "billing", None)}
    assert len(ids) == 3
    assert make().submit(CHARGE, idempotency_key="order-43").id not in ids
    kept = [key for key in keys(store) if key.startswith("gateway:idempotency:")]
    assert len(kept) == 4
    assert not any(KEY in key for key in kept)


def test_what_is_kept_lives_as_long_as_the_record(store: Valkey, make: Make) -> None:
    pending = make().submit(CHARGE, idempotency_key=KEY, deadline=100.0)
    assert pending.deadline_at is not None
    with redis.Redis.from_url(store.url(1)) as client:
        ends = {client.expiretime(key) for key in keys(store)}
    assert ends == {int(pending.deadline_at) + RESULT_EXPIRES_S + GRACE_S}


def test_a_key_that_was_used_for_another_call(store: Valkey, make: Make) -> None:
    gateway = make()
    pending = gateway.submit(CHARGE, idempotency_key=KEY)
    for _ in range(2):
        with pytest.raises(InvalidCallError, match="used for another call") as caught:
            gateway.submit(OTHER, idempotency_key=KEY)
        assert (caught.value.field, caught.value.delivery) == ("idempotency_key", Delivery.NOT_SENT)
        assert caught.value.cure
        end(gateway, pending, REPLY, "SUCCESS")
    assert len(queued(store)) == 1
    assert len(keys(store)) == 2


@pytest.mark.parametrize("state", ["running", "parked", "of a newer version"])
def test_a_call_that_is_on_its_way_is_not_enqueued(store: Valkey, make: Make, state: str) -> None:
    gateway = make()
    pending = gateway.submit(CHARGE, idempotency_key=KEY)
    gateway._results._redis.hset(key_of(pending.id), "state", state)
    assert gateway.submit(CHARGE, idempotency_key=KEY).id == pending.id
    assert len(queued(store)) == 1


@pytest.mark.parametrize(
    ("stored", "status", "shared"),
    [
        (REPLY, "SUCCESS", True),
        (ServiceRejectedError("no", delivery=Delivery.ANSWERED), "FAILURE", True),
        ({"another": "shape"}, "SUCCESS", True),
        ({"pid": 1}, "STARTED", True),
        (CircuitOpenError("open", delivery=Delivery.NOT_SENT), "FAILURE", False),
        (OutcomeUnknownError("?", delivery=Delivery.MAYBE_SENT), "FAILURE", False),
        (TaskRevokedError("revoked"), "REVOKED", False),
        (TaskRevokedError("expired"), "REVOKED", False),
        (KeyError("x"), "FAILURE", False),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseException) else None,
)
def test_a_call_that_the_service_did_not_answer_gives_its_key_back(
    store: Valkey, make: Make, stored: object, status: str, shared: bool
) -> None:
    gateway = make()
    first = gateway.submit(CHARGE, idempotency_key=KEY)
    end(gateway, first, stored, status)
    second = gateway.submit(CHARGE, idempotency_key=KEY)
    assert (second.id == first.id) is shared
    if shared:
        return
    assert second.state is CallState.PENDING
    assert [message["id"] for message in queued(store)] == [first.id, second.id]
    assert gateway.submit(CHARGE, idempotency_key=KEY).id == second.id, "the new call has the key"
    with pytest.raises(ServiceError):
        first.result(timeout=5)


def test_a_cancelled_call_gives_its_key_back(store: Valkey, make: Make) -> None:
    gateway = make()
    first = gateway.submit(CHARGE, idempotency_key=KEY)
    assert first.cancel()
    assert gateway.submit(CHARGE, idempotency_key=KEY).id != first.id


def test_a_call_whose_result_was_lost_gives_its_key_back(
    store: Valkey, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = make()
    first = gateway.submit(CHARGE, idempotency_key=KEY, deadline=0.2)
    monkeypatch.setattr(single_flight, "RESULT_MARGIN_S", 30.0)
    time.sleep(0.3)
    assert gateway.submit(CHARGE, idempotency_key=KEY).id == first.id, "its result may be on its way"
    assert len(queued(store)) == 1, "it is too late to enqueue it"
    monkeypatch.setattr(single_flight, "RESULT_MARGIN_S", 0.0)
    assert gateway.submit(CHARGE, idempotency_key=KEY).id != first.id


def test_many_that_find_a_free_key_agree_on_one_call(store: Valkey, make: Make) -> None:
    gateway = make()
    first = gateway.submit(CHARGE, idempotency_key=KEY)
    end(gateway, first, ServiceUnavailableError("refused", delivery=Delivery.NOT_SENT))
    with ThreadPoolExecutor(16) as threads:
        ids = set(threads.map(lambda _: gateway.submit(CHARGE, idempotency_key=KEY).id, range(64)))
    assert len(ids) == 1
    assert {message["id"] for message in queued(store)} == ids | {first.id}


def test_a_producer_that_died_before_it_enqueued(store: Valkey, make: Make) -> None:
    environment = {"GATEWAY_BROKER_URL": store.url(0), "GATEWAY_RESULT_URL": store.url(1), "GATEWAY_CALLER": "orders"}
    argv = [sys.executable, "-m", "tests.integration.single_flights", "die", KEY]
    done = subprocess.run(argv, env=environment, cwd=_ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 9, done.stderr
    (_, record) = [key.split(":") for key in keys(store)][::-1]
    assert queued(store) == []
    pending = make().submit(CHARGE, idempotency_key=KEY)
    assert pending.id == record[2]
    (message,) = queued(store)
    assert (message["id"], message["deadline_at"]) == (pending.id, pending.deadline_at)


def test_a_broker_that_is_away_gives_the_key_back(store: Valkey, make: Make) -> None:
    with pytest.raises(GatewayUnavailableError) as caught:
        make(broker=f"redis://127.0.0.1:{free_port()}/0").submit(CHARGE, idempotency_key=KEY)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert keys(store) == []
    make().submit(OTHER, idempotency_key=KEY)


def test_a_broker_that_may_have_taken_the_call_leaves_the_key(store: Valkey, make: Make) -> None:
    with Proxy(store.port) as proxy:
        gateway = make(broker=proxy.url(0))
        proxy.cut_after(b"LPUSH")
        with pytest.raises(GatewayUnavailableError) as caught:
            gateway.submit(CHARGE, idempotency_key=KEY)
        assert caught.value.delivery is Delivery.MAYBE_SENT
        pending = gateway.submit(CHARGE, idempotency_key=KEY)
        assert pending.id == caught.value.call_id
        assert {message["id"] for message in queued(store)} == {pending.id}


def test_who_joins_keeps_a_call_alive_that_its_first_submit_could_not_enqueue(store: Valkey, make: Make) -> None:
    first, second = make(broker=f"redis://127.0.0.1:{free_port()}/0"), make()
    original = first._bound.admit
    joined: list[PendingCall] = []

    def admit(services: Iterable[str]) -> None:
        joined.append(second.submit(CHARGE, idempotency_key=KEY))
        original(services)

    with pytest.MonkeyPatch.context() as patch:
        # The key is claimed by then, and the broker is asked for the first time.
        patch.setattr(first._bound, "admit", admit)
        with pytest.raises(GatewayUnavailableError) as caught:
            first.submit(CHARGE, idempotency_key=KEY)
    assert (caught.value.delivery, caught.value.call_id) == (Delivery.MAYBE_SENT, joined[0].id)
    assert [message["id"] for message in queued(store)] == [joined[0].id]
    assert second.submit(CHARGE, idempotency_key=KEY).id == joined[0].id
    # One who cannot enqueue it once more does not take it from the others.
    with pytest.raises(GatewayUnavailableError) as caught:
        first.submit(CHARGE, idempotency_key=KEY)
    assert (caught.value.delivery, caught.value.call_id) == (Delivery.MAYBE_SENT, joined[0].id)
    assert len(keys(store)) == 2


def test_a_command_that_is_sent_again_claims_the_same(store: Valkey, make: Make) -> None:
    gateway = make()
    options: dict[str, Any] = dict.fromkeys(("correlation_id", "request_id", "traceparent", "tracestate"))
    draft = Intake(gateway.settings, None).draft(CHARGE, deadline=9.0, idempotency_key=KEY, **options)
    message, claim = draft.at(time.time()), Claim.of("orders", KEY, CHARGE)
    for _ in range(2):
        held, now = gateway._results.claim(message, claim)
        assert held is None
        assert abs(now - time.time()) < 1
    assert gateway._results.release(message.call_id, claim)
    assert keys(store) == []


def test_a_key_is_taken_only_from_the_call_that_was_found_ended(store: Valkey, make: Make) -> None:
    gateway = make()
    first, claim = gateway.submit(CHARGE, idempotency_key=KEY), Claim.of("orders", KEY, CHARGE)
    end(gateway, first, ServiceUnavailableError("refused", delivery=Delivery.NOT_SENT))
    options: dict[str, Any] = dict.fromkeys(("correlation_id", "request_id", "traceparent", "tracestate"))
    draft = Intake(gateway.settings, None).draft(CHARGE, deadline=9.0, idempotency_key=KEY, **options)
    one, other = draft.at(time.time()), draft.at(time.time())
    assert gateway._results.claim(one, claim, instead_of=first.id)[0] is None
    held, _ = gateway._results.claim(other, claim, instead_of=first.id)
    assert held is not None
    assert held.call_id == one.call_id
    assert key_of(other.call_id) not in keys(store)


def test_who_joined_an_ended_call_has_not_joined_the_next(store: Valkey, make: Make) -> None:
    gateway = make()
    first = gateway.submit(CHARGE, idempotency_key=KEY)
    gateway.submit(CHARGE, idempotency_key=KEY)
    end(gateway, first, ServiceUnavailableError("refused", delivery=Delivery.NOT_SENT))
    with pytest.raises(GatewayUnavailableError) as caught:
        make(broker=f"redis://127.0.0.1:{free_port()}/0").submit(CHARGE, idempotency_key=KEY)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert keys(store) == [key_of(first.id)]


def test_a_server_that_forgot_the_script_learns_it_again(store: Valkey, make: Make) -> None:
    gateway = make()
    pending = gateway.submit(CHARGE, idempotency_key=KEY)
    gateway._results._redis.script_flush()
    assert gateway.submit(CHARGE, idempotency_key=KEY).id == pending.id


def test_a_key_costs_no_round_trip(store: Valkey, make: Make) -> None:
    gateway = make()
    gateway.submit(CHARGE, idempotency_key="known")

    def commands(**options: Any) -> list[str]:
        """What is sent to the result store; Redis shows what a script does with `lua` in place of an address."""
        with redis.Redis.from_url(store.url(1)) as client, client.monitor() as monitor:
            client.ping()  # connects
            gateway.submit(CHARGE, **options)
            client.echo("end")
            said: list[str] = []
            for seen in monitor.listen():
                if seen["command"] == "ECHO end":
                    return said
                if seen["command"] == "PING":
                    said.clear()
                elif seen["db"] == 1 and seen["client_type"] != "lua":
                    said.append(seen["command"].split()[0])
        raise AssertionError("unreachable")

    assert commands(idempotency_key=KEY) == ["EVALSHA"]
    assert commands(idempotency_key=KEY) == ["EVALSHA"]
    # In one pipeline.
    assert commands() == ["HSET", "EXPIREAT"]


def arrivals(gateway: Gateway, correlation_id: str) -> int:
    call = RestCall("user-service", "GET", "/stats", query={"correlation_id": correlation_id})
    return len(gateway.submit(call).result(timeout=20).data["arrivals"])


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """One that no test before has used."""
    return f"{request.node.name}-{time.time_ns()}"[-100:]


def test_many_threads_make_one_request(stack: Stack, key: str) -> None:
    got = race(stack.gateway, key, 40)
    assert len(set(got)) == 1
    assert arrivals(stack.gateway, key) == 1
    # And long after.
    assert set(race(stack.gateway, key, 3)) == set(got)
    assert arrivals(stack.gateway, key) == 1


def test_many_processes_make_one_request(stack: Stack, key: str) -> None:
    argv = [sys.executable, "-m", "tests.integration.single_flights", "race", key, "10"]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with ExitStack() as running:
        producers = [
            running.enter_context(subprocess.Popen(argv, env=stack.environment, cwd=_ROOT, text=True, **pipes))
            for _ in range(3)
        ]
        for producer in producers:
            assert producer.stdout is not None
            assert producer.stdout.readline() == "ready\n"
        for producer in producers:
            assert producer.stdin is not None
            producer.stdin.write("go\n")
            producer.stdin.flush()
        said = [producer.communicate(timeout=60) for producer in producers]
    got = [line for out, _ in said for line in json.loads(out)]
    assert len(got) == 30, said
    assert len(set(got)) == 1
    assert arrivals(stack.gateway, key) == 1


async def test_a_cancelled_asubmit_is_cured_by_another(stack: Stack, key: str) -> None:
    task = asyncio.ensure_future(stack.gateway.asubmit(CHARGE, idempotency_key=key, correlation_id=key))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    reply = await (await stack.gateway.asubmit(CHARGE, idempotency_key=key, correlation_id=key))
    assert reply.status == 200
    assert await asyncio.to_thread(arrivals, stack.gateway, key) == 1


def test_a_call_that_did_not_reach_its_service_is_made_anew(stack: Stack, key: str) -> None:
    gateway = stack.gateway
    call = RestCall("closed", "POST", "/", json={})
    ids = set()
    for _ in range(2):
        pending = gateway.submit(call, idempotency_key=key, deadline=2.0)
        ids.add(pending.id)
        with pytest.raises(ServiceError) as caught:
            pending.result(timeout=10)
        assert caught.value.delivery is Delivery.NOT_SENT
    assert len(ids) == 2


def test_an_answered_error_is_shared(stack: Stack, key: str) -> None:
    gateway, call = stack.gateway, RestCall("user-service", "GET", "/users/999")
    errors = []
    for _ in range(2):
        with pytest.raises(ServiceRejectedError) as caught:
            gateway.submit(call, idempotency_key=key, correlation_id=key).result(timeout=10)
        errors.append(caught.value.fields)
    assert errors[0] == errors[1]
    assert arrivals(gateway, key) == 1
