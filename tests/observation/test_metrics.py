"""What a worker counts is what its service saw and what producers were told, call by call."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from msgspec import UNSET

from gateway import PendingCall, RestCall
from gateway.errors import ServiceError
from tests.integration.pool_rig import eventually
from tests.observation.watched import Watched
from tests.servers.conduct import Conduct

CATALOGUE = """
[defaults]
retry = { attempts = 3, backoff = 0.01, max_backoff = 0.02, budget = 1.0, budget_per_s = 1000.0 }
timeouts = { attempt = 1.0 }

[services.mixed]
rest.url = "${COUNTING_URL}"
breaker = { enabled = false }

[services.storm]
rest.url = "${COUNTING_URL}"
breaker = { enabled = false }

[services.tripping]
rest.url = "${COUNTING_URL}"
retry = { attempts = 1 }
breaker = { fail_max = 5, reset_timeout = 60.0 }
"""

#: Route, how the service treats it, and how many calls.
MIX = [
    ("GET", "/well", Conduct(), 500),
    ("POST", "/created", Conduct(status=201), 150),
    ("GET", "/missing", Conduct(status=404), 100),
    ("POST", "/broken", Conduct(status=500), 60),
    ("GET", "/once-busy", Conduct(status=503, every=2), 120),
    ("POST", "/reset", Conduct(action="reset"), 40),
    ("GET", "/hangs", Conduct(action="hang"), 10),
]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Watched(tmp_path_factory.mktemp("watched"), CATALOGUE) as made:
        yield made


def outcomes(pending: list[PendingCall]) -> Counter[str]:
    """How many ended how; a reply is an empty name."""
    found: Counter[str] = Counter()
    for each in pending:
        try:
            each.result(timeout=30)
        except ServiceError as error:
            found[type(error).__name__] += 1
        else:
            found[""] += 1
    return found


def test_a_thousand_calls_of_mixed_outcomes(watched: Watched) -> None:
    calls: list[RestCall] = []
    for method, route, conduct, count in MIX:
        watched.service.behave(route, conduct)
        body = UNSET if method == "GET" else {"a": 1}
        calls += [RestCall("mixed", method, f"{route}/{{n}}", path={"n": str(n)}, json=body) for n in range(count)]
    told = outcomes(watched.gateway.submit_many(calls, deadline=60.0))
    assert sum(told.values()) == sum(count for *_, count in MIX)
    assert len(told) >= 5, told

    def counted() -> Counter[str]:
        found: Counter[str] = Counter()
        for labels, value in watched.values("gateway_calls_total").items():
            of = dict(labels)
            if of["service"] == "mixed":
                found[of["error"]] += int(value)
        return found

    eventually(lambda: counted() == told, f"the same outcomes are counted: {counted()}, {told}")
    for method, route, _, _ in MIX:
        operation = f"{method} {route}/{{n}}"
        arrived = watched.service.arrivals(route)
        attempts = watched.total("gateway_attempts_total", service="mixed", operation=operation)
        assert attempts == len(arrived), f"{operation}: counted as often as it arrived"
        asked = watched.total("gateway_calls_total", service="mixed", operation=operation)
        assert watched.total("gateway_call_duration_seconds_count", operation=operation) == asked
    arrivals = sum(len(watched.service.arrivals(route)) for _, route, _, _ in MIX)
    assert watched.total("gateway_retries_total", service="mixed") == arrivals - sum(told.values())
    assert watched.total("gateway_attempt_duration_seconds_count", service="mixed") == arrivals
    assert watched.total("gateway_queue_wait_seconds_count", service="mixed") == sum(told.values())
    assert watched.total("gateway_calls_in_flight", service="mixed") == 0
    assert watched.total("gateway_dead_letters_total", service="mixed") == watched.total("gateway_fleet_dead_letters")
    assert watched.total("gateway_pool_busy", service="mixed") == 0
    bodies = sum(count for method, _, _, count in MIX if method == "POST") * len(b'{"a":1}')
    assert watched.total("gateway_request_body_bytes_total", service="mixed") == bodies


def test_a_retry_storm(watched: Watched) -> None:
    watched.service.behave("/storm", Conduct(status=503))
    calls = [RestCall("storm", "GET", "/storm/{n}", path={"n": str(n)}) for n in range(100)]
    assert outcomes(watched.gateway.submit_many(calls, deadline=60.0)) == {"ServiceUnavailableError": 100}
    arrived = len(watched.service.arrivals("/storm"))
    assert arrived > 200
    assert watched.total("gateway_attempts_total", service="storm", result="ServiceUnavailableError") == arrived
    assert watched.total("gateway_retries_total", service="storm") == arrived - 100


def test_a_breaker_trips(watched: Watched) -> None:
    watched.service.behave("/trips", Conduct(status=500))
    calls = [RestCall("tripping", "POST", "/trips/{n}", path={"n": str(n)}, json={}) for n in range(50)]
    # One after the other until it trips: at once, all of them may be on their way before the first has failed.
    told: Counter[str] = Counter()
    for call in calls[:10]:
        told += outcomes([watched.gateway.submit(call, deadline=2.0)])
    told += outcomes(watched.gateway.submit_many(calls[10:], deadline=2.0))
    arrived = len(watched.service.arrivals("/trips"))
    assert told["CircuitOpenError"] == 50 - arrived > 0
    assert watched.total("gateway_attempts_total", service="tripping") == arrived
    assert watched.total("gateway_breaker_opened_total", service="tripping") == 1
    assert watched.total("gateway_breaker_state", service="tripping") == 2
    assert watched.total("gateway_parked_total", service="tripping") == 0, "nobody waits longer than its deadline"

    def fleet() -> tuple[float, float]:
        state, trips = "gateway_fleet_breaker_state", "gateway_fleet_breaker_trips"
        return watched.total(state, service="tripping"), watched.total(trips, service="tripping")

    eventually(lambda: fleet() == (2, 1), "the fleet's figures follow within seconds")


def test_operations_are_bounded_and_are_no_urls(watched: Watched) -> None:
    calls = [RestCall("mixed", "GET", f"/made-up-{n}") for n in range(300)]
    outcomes(watched.gateway.submit_many(calls, deadline=60.0))
    operations = {dict(labels)["operation"] for labels in watched.values("gateway_calls_total")}
    assert "other" in operations
    assert len(operations) < 230


def test_messages_that_become_no_call_are_counted(watched: Watched) -> None:
    refused = watched.total("gateway_refused_total", error="InvalidCallError", reason="")
    unreadable = watched.total("gateway_dead_letters_total", service="", reason="unreadable")
    app = watched.gateway.celery
    call = {"protocol": "rest", "service": "mixed", "method": "GET", "route": "/well"}
    with app.connection_for_write() as connection, connection.channel() as channel:
        producer: Any = app.amqp.Producer(channel)
        # Taken by the hub: a body that is no JSON, and one that is none of a task.
        for body in ("{", '"nothing of a task"'):
            producer.publish(
                body,
                content_type="application/json",
                content_encoding="utf-8",
                routing_key="gateway.mixed",
                headers={"task": "gateway.call", "id": str(uuid4()), "lang": "py"},
                retry=False,
            )
    eventually(
        lambda: watched.total("gateway_refused_total", error="InvalidCallError", reason="") == refused + 2,
        what="that both are counted",
    )
    eventually(
        lambda: watched.total("gateway_dead_letters_total", service="", reason="unreadable") == unreadable + 2,
        what="and so are their letters",
    )
    # Ended before it began: its time had passed, or somebody had revoked it.
    late = app.send_task("gateway.call", kwargs={"version": 1, "call": call}, queue="gateway.mixed", expires=-1)
    with pytest.raises(ServiceError):
        watched.gateway.pending(late.id).result(timeout=15)
    eventually(
        lambda: watched.total("gateway_calls_total", service="mixed", error="DeadlineExceededError") == 1,
        what="that it is counted as a call",
    )
