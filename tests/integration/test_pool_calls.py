"""The pool performs calls, and everything around them stays Celery's."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded
from celery import chain, chord, group
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError

from gateway.errors import (
    CallCancelledError,
    DeadlineExceededError,
    Delivery,
    GatewayFaultError,
    ServiceUnavailableError,
)
from tests.integration.pool_rig import CALL, Rig, eventually


@contextmanager
def captured_events(rig: Rig) -> Iterator[list[dict[str, Any]]]:
    """All events while it lasts."""
    seen: list[dict[str, Any]] = []
    with rig.app.connection_for_read() as connection:
        receiver = rig.app.events.Receiver(connection, handlers={"*": seen.append}, app=rig.app)
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "timeout": None}, daemon=True)
        thread.start()
        try:
            eventually(lambda: seen, "a heartbeat of the worker")
            yield seen
        finally:
            receiver.should_stop = True
            thread.join(10)


def call_signature(rig: Rig, **do: Any) -> Any:
    return rig.app.signature("gateway.call", kwargs={"call": CALL, "do": do}, app=rig.app)


def test_two_hundred_calls_at_once(rig: Rig) -> None:
    worker = rig.worker(concurrency=200)
    rig.send().get(timeout=10)
    began = time.monotonic()
    pending = [rig.send(sleep_s=0.2) for _ in range(200)]
    replies = [result.get(timeout=30) for result in pending]
    took = time.monotonic() - began
    assert {reply["status"] for reply in replies} == {200}
    # One after another they take 40 s.
    assert took < 10, f"{took:.1f} s"
    rig.acknowledged()
    status = Path(f"/proc/{worker.pid}/status").read_text()
    found = dict(line.split(":", 1) for line in status.splitlines())
    assert int(found["Threads"]) <= 12
    assert int(found["VmRSS"].split()[0]) < 200_000


def test_no_more_than_the_limit_run(rig: Rig) -> None:
    worker = rig.worker(concurrency=3, conf={"worker_prefetch_multiplier": 4})
    pending = [rig.send(sleep_s=1.0) for _ in range(8)]
    eventually(lambda: len(rig.happened("started")) == 3, "three are started")
    info = rig.pool_info(worker)
    assert (info["in-flight"], info["waiting"], info["max-concurrency"]) == (3, 5, 3)
    rig.app.control.pool_grow(2, destination=[worker.name], reply=True)
    eventually(lambda: len(rig.happened("started")) >= 5, "five are started")
    for result in pending:
        result.get(timeout=15)
    assert rig.happened("started") == [result.id for result in pending]


def test_a_failure_is_rebuilt_as_what_it_was(rig: Rig) -> None:
    rig.worker()
    result = rig.send(fail="no route to host")
    with pytest.raises(ServiceUnavailableError, match="no route to host") as caught:
        result.get(timeout=10)
    assert caught.value.service == "user-service"
    assert caught.value.attempts == 3
    rig.acknowledged()


@pytest.mark.parametrize("do", [{"raise": "SECRET-IN-AN-ERROR"}, {"wrong": True}])
def test_a_defect_in_the_executor_loses_nothing(rig: Rig, do: dict[str, Any]) -> None:
    worker = rig.worker()
    with pytest.raises(GatewayFaultError) as caught:
        rig.send(**do).get(timeout=10)
    assert caught.value.delivery is Delivery.MAYBE_SENT
    assert "SECRET" not in str(caught.value)
    assert rig.send().get(timeout=10)["status"] == 200
    rig.acknowledged()
    assert "SECRET" not in worker.output()


def test_chain_group_chord_and_callbacks(rig: Rig) -> None:
    rig.worker()
    total = rig.app.signature("tests.total", app=rig.app)
    write = rig.app.signature("tests.write", app=rig.app, immutable=True)
    assert chain(call_signature(rig, say=1), call_signature(rig)).apply_async().get(timeout=15)["data"]["earlier"] == 1
    assert chain(call_signature(rig), total).apply_async().get(timeout=15) == 1
    assert len(group([call_signature(rig) for _ in range(5)], app=rig.app).apply_async().get(timeout=15)) == 5
    assert chord([call_signature(rig) for _ in range(5)], app=rig.app)(total).get(timeout=15) == 5
    call_signature(rig).apply_async(link=write).get(timeout=15)
    eventually(lambda: len(rig.happened("written")) == 1, "the callback ran")
    with pytest.raises(ServiceUnavailableError):
        call_signature(rig, fail="down").apply_async(link_error=write).get(timeout=15)
    eventually(lambda: len(rig.happened("written")) == 2, "the error callback ran")
    rig.acknowledged()


def test_revoke_cancels_only_that_call(rig: Rig) -> None:
    rig.worker()
    doomed, spared = rig.send(sleep_s=30), rig.send(sleep_s=1.5)
    eventually(lambda: len(rig.happened("started")) == 2, "both run")
    doomed.revoke(terminate=True)
    with pytest.raises(CallCancelledError) as caught:
        doomed.get(timeout=10)
    assert (caught.value.delivery, caught.value.service) == (Delivery.MAYBE_SENT, "user-service")
    assert spared.get(timeout=10)["status"] == 200
    assert rig.happened("cancelled") == rig.happened("asked") == [doomed.id]
    rig.acknowledged()
    assert str(doomed.state) == "FAILURE"


def test_revoke_of_a_call_that_gets_its_reply_nevertheless(rig: Rig) -> None:
    rig.worker()
    result = rig.send(sleep_s=30, swallow=True)
    eventually(lambda: rig.happened("started"), "it runs")
    result.revoke(terminate=True)
    assert result.get(timeout=10)["status"] == 200
    assert rig.happened("cancelled") == [result.id]
    rig.acknowledged()


def test_revoke_of_a_call_that_has_just_started(rig: Rig) -> None:
    """However close the two are, the call ends, and its place is free again."""
    worker = rig.worker(concurrency=2)
    rig.app.control.revoke([f"early-{number}" for number in range(20)], terminate=True, reply=True, timeout=3)
    early = [rig.send({"task_id": f"early-{number}"}, sleep_s=30) for number in range(20)]
    for result in early:
        with pytest.raises(CallCancelledError) as caught:
            result.get(timeout=10)
        assert caught.value.delivery is Delivery.NOT_SENT
    rig.acknowledged()
    assert not rig.happened("started")
    assert rig.pool_info(worker)["in-flight"] == 0


@pytest.mark.parametrize("terminate", [True, False])
def test_revoke_of_a_call_that_another_worker_runs(rig: Rig, terminate: bool) -> None:
    """Only who holds a call says how it ended; Celery's own command has the other write REVOKED at once."""
    runs = rig.worker(concurrency=1)
    result = rig.send(sleep_s=8.0)
    eventually(lambda: rig.happened("started"), "it runs")
    idle = rig.worker()
    rig.app.control.revoke(result.id, terminate=terminate, destination=[idle.name], reply=True, timeout=3)
    assert result.id in (rig.app.control.inspect([idle.name], timeout=3).revoked() or {})[idle.name]
    assert str(result.state) == "PENDING"
    assert result.get(timeout=20)["status"] == 200
    rig.acknowledged()
    assert (runs.exit_code, idle.exit_code) == (None, None)


@pytest.mark.parametrize("terminate", [True, False])
def test_revoke_of_a_call_that_waits_for_its_turn(rig: Rig, terminate: bool) -> None:
    rig.worker(concurrency=1, conf={"worker_prefetch_multiplier": 2})
    running, waiting = rig.send(sleep_s=3), rig.send(sleep_s=0)
    eventually(lambda: rig.unacked() == 2 and rig.happened("started"), "one runs, one waits")
    waiting.revoke(terminate=terminate)
    with pytest.raises(CallCancelledError) as caught:
        waiting.get(timeout=10)
    assert caught.value.delivery is Delivery.NOT_SENT
    eventually(lambda: rig.unacked() == 1, "it is acknowledged at once, not when its turn comes", 5)
    assert not rig.happened("ended")
    assert running.get(timeout=10)["status"] == 200
    assert rig.happened("started") == [running.id]
    rig.acknowledged()


def test_revoke_of_a_call_with_a_countdown(rig: Rig) -> None:
    worker = rig.worker()
    write = rig.app.signature("tests.write", app=rig.app, immutable=True)
    result = rig.send({"countdown": 3, "link_error": write})
    inspect = rig.app.control.inspect([worker.name], timeout=3)
    eventually(lambda: (inspect.scheduled() or {}).get(worker.name), "it is scheduled")
    result.revoke(terminate=True)
    with pytest.raises(CallCancelledError) as caught:
        result.get(timeout=2)
    assert caught.value.delivery is Delivery.NOT_SENT
    eventually(lambda: rig.happened("written"), "its error callback ran")
    rig.acknowledged()
    eventually(lambda: not (inspect.scheduled() or {}).get(worker.name), "its countdown has passed")
    assert (inspect.reserved() or {})[worker.name] == []
    assert not rig.happened("started")


def test_a_task_that_is_no_call_is_revoked_as_ever(rig: Rig) -> None:
    rig.worker()
    result = rig.app.send_task("tests.total", args=[[]], countdown=60)
    eventually(lambda: rig.unacked() == 1, "it is scheduled")
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=10)


def test_time_limits(rig: Rig) -> None:
    rig.worker()
    hard = rig.send({"time_limit": 1}, sleep_s=30)
    soft = rig.send({"soft_time_limit": 0.5}, sleep_s=30)
    with pytest.raises(SoftTimeLimitExceeded):
        soft.get(timeout=10)
    with pytest.raises(TimeLimitExceeded):
        hard.get(timeout=10)
    eventually(lambda: sorted(rig.happened("cancelled")) == sorted([hard.id, soft.id]), "both were cancelled")
    rig.acknowledged()
    assert rig.send().get(timeout=10)["status"] == 200
    assert hard.state == "FAILURE"


def test_a_countdown_and_an_expiry_are_kept(rig: Rig) -> None:
    rig.worker()
    began = time.monotonic()
    later = rig.send({"countdown": 1.5})
    expired = rig.send({"expires": -1})
    with pytest.raises(DeadlineExceededError) as caught:
        expired.get(timeout=10)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert later.get(timeout=10)["status"] == 200
    assert time.monotonic() - began >= 1.4
    assert rig.happened("started") == [later.id]


def test_operators_see_names_and_times_and_no_payload(rig: Rig) -> None:
    worker = rig.worker(concurrency=2, conf={"worker_prefetch_multiplier": 2})
    inspect = rig.app.control.inspect([worker.name], timeout=3)
    with captured_events(rig) as events:
        headers = {"argsrepr": "SECRET-A", "kwargsrepr": "SECRET-K"}
        total = rig.app.signature("tests.total", app=rig.app)
        chained = chain(call_signature(rig, say="SECRET-C"), total).apply_async()
        chained.get(timeout=10)
        result = rig.send(headers | {"link": total}, sleep_s=6, say="SECRET")
        late = rig.send({"countdown": 3}, say="SECRET")
        eventually(lambda: result.id in rig.happened("started"), "it runs")
        eventually(lambda: len((inspect.active() or {})[worker.name]) == 1, "it alone runs")
        seen: list[Any] = [
            inspect.active(),
            inspect.scheduled(),
            inspect.reserved(),
            inspect.query_task(result.id, late.id),
        ]
        result.get(timeout=20)
        late.get(timeout=10)

        def of(kind: str) -> Callable[[], list[dict[str, Any]]]:
            return lambda: [event for event in events if event["type"] == kind and event["uuid"] == result.id]

        succeeded = eventually(of("task-succeeded"), "its success is announced")[0]
        started = of("task-started")()[0]
        received = of("task-received")()[0]
    assert 5.9 < succeeded["runtime"] < 12
    assert 5.9 < succeeded["timestamp"] - started["timestamp"] < 12
    assert succeeded["result"].startswith("200 in 6000 ms · user-service")
    assert received["name"] == "user-service GET /users/{user_id}"
    assert "'correlation_id': 'order-42'" in received["kwargs"]
    active = seen[0][worker.name]
    assert [task["name"] for task in active] == ["user-service GET /users/{user_id}"]
    assert "SECRET" not in str(seen)
    assert "SECRET" not in str(events)
    assert "SECRET" not in worker.output()
