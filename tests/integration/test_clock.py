"""Deadlines of a producer whose clock is wrong: they are in the result store's time."""

import json
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway import Gateway, RestCall, Settings
from gateway import clock as clock_module
from gateway import pending as pending_module
from gateway.clock import FleetClock
from gateway.dev.process import free_port
from gateway.dev.valkey import Valkey
from gateway.errors import (
    DeadlineExceededError,
    Delivery,
    GatewayUnavailableError,
    InvalidCallError,
    OutcomeUnknownError,
)
from tests.integration.stack import Stack

CALL = RestCall("user-service", "GET", "/users/123")
HOUR = 3600.0

Make = Callable[..., Gateway]
wrong_clocks = pytest.mark.parametrize("ahead", [-HOUR, HOUR], ids=["behind", "ahead"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, without a worker: broker in database 0, results in database 1."""
    server = Valkey(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def make(store: Valkey) -> Iterator[Make]:
    with ExitStack() as open_ones:

        def one(ahead: float, settings: Settings | None = None) -> Gateway:
            """A gateway on a host whose wall clock is ahead by so much."""
            clock = FleetClock(wall=lambda: time.time() + ahead)
            settings = settings or Settings(broker_url=store.url(0), result_url=store.url(1))
            return open_ones.enter_context(Gateway(settings, clock=clock))

        yield one


def newest(store: Valkey) -> dict[str, Any]:
    """Keyword arguments of the message that was enqueued last."""
    with redis.Redis.from_url(store.url(0)) as client:
        text: Any = client.lindex("gateway", 0)
    kwargs: dict[str, Any] = json.loads(b64decode(json.loads(text)["body"]))[1]
    return kwargs


def set_host(monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    """Whoever asks this process for the time gets a wrong one."""
    right = time.time
    monkeypatch.setattr("time.time", lambda: right() + ahead)


def redis_time(store: Valkey) -> float:
    with redis.Redis.from_url(store.url(1)) as client:
        seconds, microseconds = client.time()
    return float(seconds + microseconds / 1e6)


@wrong_clocks
def test_deadlines_are_in_the_stores_time(store: Valkey, make: Make, ahead: float) -> None:
    gateway = make(ahead)
    for key in (None, None, "order-42", "order-43"):
        pending = gateway.submit(CALL, deadline=20.0, idempotency_key=key)
        now = redis_time(store)
        message = newest(store)
        assert message["deadline_at"] == pending.deadline_at == pytest.approx(now + 20.0, abs=0.1)
        assert message["sent_at"] == pytest.approx(now, abs=0.1)
    for pending in gateway.submit_many([CALL] * 3, deadline=5.0):
        assert pending.deadline_at == pytest.approx(redis_time(store) + 5.0, abs=0.1)
    assert gateway._results.clock.offset_s == pytest.approx(-ahead, abs=0.1)


@wrong_clocks
def test_a_signature_is_stamped_in_the_stores_time(
    store: Valkey, make: Make, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = make(0.0)
    set_host(monkeypatch, ahead)
    gateway.submit(CALL)
    gateway.signature(CALL, deadline=7.0).apply_async(queue="gateway")
    message = newest(store)
    assert message["sent_at"] == pytest.approx(redis_time(store), abs=0.1)
    assert message["deadline_s"] == 7.0


def test_the_time_is_asked_for_once(store: Valkey, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = make(HOUR)

    def asked() -> int:
        with redis.Redis.from_url(store.url(1)) as client:
            said: Any = client.info("commandstats").get("cmdstat_time", {"calls": 0})
        return int(said["calls"])

    assert asked() == 0
    gateway.submit(CALL)
    first = asked()
    assert first in (1, 2), "again if the first answer came late"
    monkeypatch.setattr(clock_module, "_FRESH_S", 60.0)
    for _ in range(4):
        gateway.submit(CALL)
    assert asked() == first, "it is known"
    monkeypatch.setattr(clock_module, "_FRESH_S", 0.0)
    for _ in range(4):
        gateway.submit(CALL)
    gateway.submit_many([CALL] * 10)
    assert asked() == first + 5, "what grows old is renewed in the pipeline of a submit"
    assert gateway.submit(CALL, deadline=9.0).deadline_at == pytest.approx(redis_time(store) + 9.0, abs=0.1)


@wrong_clocks
@pytest.mark.parametrize("handle", ["of the submit", "of another process"])
def test_a_result_is_waited_for_until_the_deadline(
    store: Valkey, make: Make, ahead: float, handle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_module, "RESULT_MARGIN_S", 0.3)
    pending = make(0.0).submit(CALL, deadline=0.7)
    set_host(monkeypatch, ahead)
    if handle == "of another process":
        pending = make(0.0).pending(pending.id)
    started = time.monotonic()
    with pytest.raises(OutcomeUnknownError):
        pending.result()
    assert 0.7 < time.monotonic() - started < 2.5


def test_a_clock_that_is_set_while_the_producer_runs(store: Valkey) -> None:
    host = {"ahead": 0.0}
    clock = FleetClock(wall=lambda: time.time() + host["ahead"])
    with Gateway(Settings(broker_url=store.url(0), result_url=store.url(1)), clock=clock) as gateway:
        for ahead in (0.0, HOUR, -HOUR):
            host["ahead"] = ahead
            pending = gateway.submit(CALL, deadline=20.0)
            assert pending.deadline_at == pytest.approx(redis_time(store) + 20.0, abs=0.1)
            assert clock.is_sure


def test_what_is_wrong_with_a_call_comes_before_the_time() -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    with Gateway(Settings(broker_url=nowhere, result_url=nowhere)) as gateway:
        with pytest.raises(InvalidCallError):
            gateway.submit(CALL, deadline=-1.0)
        with pytest.raises(GatewayUnavailableError, match="result store") as caught:
            gateway.submit(CALL)
        assert caught.value.delivery is Delivery.NOT_SENT


@wrong_clocks
def test_a_worker_gives_a_call_its_time(stack: Stack, make: Make, ahead: float) -> None:
    gateway = make(ahead, stack.settings)
    reply = gateway.submit(CALL, deadline=10.0).result()
    assert reply.status == 200
    assert reply.timing.queued is not None
    assert reply.timing.queued < 10
    hanging = RestCall("user-service", "GET", "/users/123", headers={"x-demo-behaviour": "hang"}, attempt_timeout=9.0)
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        gateway.submit(hanging, deadline=1.0).result()
    assert 0.9 < time.monotonic() - started < 4
