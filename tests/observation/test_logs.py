"""Every line of a call's life says which call it is of; the last one says what came of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import RestCall
from gateway.errors import ServiceError
from tests.integration.pool_rig import eventually
from tests.observation.watched import Watched
from tests.servers.conduct import Conduct
from tests.servers.worker import Worker

KEY = "log-canary-0123456789"
CATALOGUE = """
[services.billing]
rest.url = "${COUNTING_URL}"
auth = { type = "service-key", secret = "env:BILLING_KEY" }
retry = { attempts = 3, backoff = 0.01 }
timeouts = { attempt = 0.5 }
breaker = { enabled = false }
interceptors.before = ["tests.observation.chatty:chat"]

[services.open]
rest.url = "${COUNTING_URL}"
retry = { attempts = 1 }
breaker = { fail_max = 1, reset_timeout = 1.0 }
"""
IDS = {"correlation_id", "call_id", "service", "operation", "attempt", "caller"}


def worked(folder: Path, form: str) -> Watched:
    """A worker at DEBUG that has done a little of everything."""
    environ = {"GATEWAY_LOG_FORMAT": form, "BILLING_KEY": KEY, "GATEWAY_CALLER": "orders"}
    made = Watched(folder, CATALOGUE, arguments=("--loglevel", "DEBUG"), **environ)
    made.service.behave("/missing", Conduct(status=404))
    made.service.behave("/hangs", Conduct(action="hang"))
    made.service.behave("/busy-once", Conduct(status=503, first=1))
    made.service.behave("/down", Conduct(status=500, first=1))
    for name, method, service in (
        ("well", "GET", "billing"),
        ("missing", "GET", "billing"),
        ("hangs", "POST", "billing"),
        ("busy-once", "GET", "billing"),
        ("down", "POST", "open"),
        ("parked", "GET", "open"),
    ):
        call = RestCall(service, method, f"/{name}/{{n}}", path={"n": "1"})
        try:
            made.gateway.submit(call, correlation_id=f"c-{name}", deadline=20.0).result(timeout=30)
        except ServiceError:
            continue
    wrong = {"protocol": "rest", "service": "billing", "method": "payload-canary", "route": "/"}
    made.gateway.celery.send_task("gateway.call", kwargs={"version": 1, "call": wrong}, queue="gateway.billing")
    eventually(lambda: " refused" in made.worker.output() or '"refused"' in made.worker.output(), "it is refused")
    return made


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """It logs JSON."""
    with worked(tmp_path_factory.mktemp("json"), "json") as made:
        yield made


@pytest.fixture(scope="module")
def for_people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with worked(tmp_path_factory.mktemp("console"), "console") as made:
        yield made


def lines(watched: Watched) -> list[dict[str, Any]]:
    """Of a worker that logs JSON; what Celery prints at its start is no log."""
    return [json.loads(line) for line in watched.worker.output().splitlines() if line.startswith("{")]


def of(watched: Watched, name: str) -> list[dict[str, Any]]:
    return [line for line in lines(watched) if line.get("correlation_id") == f"c-{name}"]


def test_every_line_of_a_call_names_it(watched: Watched) -> None:
    for name in ("well", "missing", "hangs", "busy-once", "down", "parked"):
        found = of(watched, name)
        assert found
        for line in found:
            assert line.keys() >= IDS, line
        assert len({line["call_id"] for line in found}) == 1
    assert {line["logger"] for line in of(watched, "well")} >= {"somebody.else", "gateway.calls", "gateway.attempts"}
    belonging = [line for line in lines(watched) if line["logger"] in ("gateway.calls", "gateway.attempts")]
    assert all(line.keys() >= {"call_id"} for line in belonging)


@pytest.mark.parametrize(
    ("name", "event", "level", "fields"),
    [
        ("well", "reply", "info", {"status": 200, "attempts": 1}),
        ("missing", "error", "info", {"error": "ServiceRejectedError", "status": 404, "delivery": "answered"}),
        ("hangs", "error", "warning", {"error": "OutcomeUnknownError", "delivery": "maybe_sent"}),
        ("busy-once", "reply", "info", {"status": 200, "attempts": 2}),
        ("down", "error", "info", {"error": "ServiceFaultError", "status": 500}),
        ("parked", "reply", "info", {"status": 200}),
    ],
)
def test_one_line_at_the_end(watched: Watched, name: str, event: str, level: str, fields: dict[str, Any]) -> None:
    (last,) = [line for line in of(watched, name) if line["event"] in ("reply", "error")]
    assert (last["event"], last["level"]) == (event, level)
    assert last.items() >= fields.items()
    assert last["total_ms"] > 0
    assert last["queued_ms"] >= 0


def test_attempts_and_parking(watched: Watched) -> None:
    said = [
        (line["event"], line["attempt"]) for line in of(watched, "busy-once") if line["logger"] == "gateway.attempts"
    ]
    assert said == [("attempt started", 1), ("attempt ended", 1), ("attempt started", 2), ("attempt ended", 2)]
    (parked,) = [line for line in of(watched, "parked") if line["event"] == "parked"]
    assert parked["why"] == "breaker"
    (refused,) = [line for line in lines(watched) if line["event"] == "refused"]
    assert refused["error"] == "InvalidCallError"
    assert refused["said"].startswith("method: it is not valid; use one of GET")


@pytest.mark.parametrize("form", ["watched", "for_people"])
def test_nothing_secret_and_nothing_forged(request: pytest.FixtureRequest, form: str) -> None:
    text = request.getfixturevalue(form).worker.output()
    assert KEY not in text
    assert "payload-canary" not in text
    assert "the key is [redacted]" in text
    forged = [line for line in text.splitlines() if line.startswith("2026-01-01")]
    assert forged == []


def test_for_people(for_people: Watched) -> None:
    text = for_people.worker.output()
    (line,) = [line for line in text.splitlines() if " gateway.calls reply" in line and "c-well" in line]
    assert " INFO gateway.calls reply status=200 attempts=1 " in line
    assert ' service=billing operation="GET /well/{n}" attempt=1 caller=orders' in line


def test_a_format_that_there_is_not(watched: Watched) -> None:
    env = {**watched.environ, "GATEWAY_LOG_FORMAT": "xml"}
    worker = Worker("workers.app", watched.folder, env=env, timeout=None)
    assert worker.wait(30) != 0
    assert "GATEWAY_LOG_FORMAT is none of console, json; set it to one of them" in worker.output()
