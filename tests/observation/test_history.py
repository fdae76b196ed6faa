"""What became of each call is told after it ended, as its producer was told it, and never in its way."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from gateway import RestCall
from gateway.cli import main
from gateway.clock import FleetClock
from gateway.dev.process import free_port
from gateway.errors import CallCancelledError, ServiceError, ServiceTimeoutError
from gateway.history import KEY, History, HistoryEntry, Wanted, history_length
from gateway.records import CallState
from gateway.redis_client import open_async
from gateway.settings import SettingsError
from tests.integration.pool_rig import eventually
from tests.observation.watched import Watched
from tests.servers.conduct import Conduct
from workers.observation.events import CallRefused
from workers.observation.history import HistoryWriter

CATALOGUE = """
[services.billing]
rest.url = "${COUNTING_URL}"
retry = { attempts = 3, backoff = 0.01 }
timeouts = { attempt = 0.5 }
breaker = { enabled = false }

[services.open]
rest.url = "${COUNTING_URL}"
retry = { attempts = 1 }
breaker = { fail_max = 1, reset_timeout = 2.0 }
"""
CALLS = [
    ("well", "GET", "billing"),
    ("missing", "GET", "billing"),
    ("hangs", "POST", "billing"),
    ("busy-once", "GET", "billing"),
    ("down", "POST", "open"),
    ("parked", "GET", "open"),
]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Watched(tmp_path_factory.mktemp("watched"), CATALOGUE, GATEWAY_CALLER="orders") as made:
        made.service.behave("/missing", Conduct(status=404))
        made.service.behave("/hangs", Conduct(action="hang"))
        made.service.behave("/busy-once", Conduct(status=503, first=1))
        made.service.behave("/down", Conduct(status=500, first=1))
        yield made


@pytest.fixture(scope="module")
def told(watched: Watched) -> dict[str, tuple[str, Any]]:
    """Id and outcome of each call, as its producer got it."""
    found: dict[str, tuple[str, Any]] = {}
    for name, method, service in CALLS:
        call = RestCall(service, method, f"/{name}/{{n}}", path={"n": "secret-number"}, headers={"x-a": "payload-1"})
        pending = watched.gateway.submit(call, correlation_id=f"c-{name}", deadline=20.0)
        try:
            found[name] = (pending.id, pending.result(timeout=30))
        except ServiceError as error:
            found[name] = (pending.id, error)
    with History.open(watched.environ["GATEWAY_RESULT_URL"]) as history:
        eventually(lambda: len(history) >= len(CALLS) + 1, "all of them are written")
    return found


def entries(watched: Watched, name: str) -> list[HistoryEntry]:
    with History.open(watched.environ["GATEWAY_RESULT_URL"]) as history:
        return history.latest(Wanted(correlation_id=f"c-{name}"), 10)


def run(watched: Watched, *arguments: str) -> Result:
    return CliRunner(env={**watched.environ, "COLUMNS": "160"}).invoke(main, ["calls", *arguments])


@pytest.mark.parametrize("name", [name for name, _, _ in CALLS])
def test_it_says_what_the_producer_got(watched: Watched, told: dict[str, tuple[str, Any]], name: str) -> None:
    call_id, outcome = told[name]
    last = entries(watched, name)[-1]
    assert (last.call_id, last.caller) == (call_id, "orders")
    assert last.operation is not None
    assert last.operation.endswith(f"/{name}/{{n}}")
    if isinstance(outcome, ServiceError):
        assert (last.event, last.error, last.status) == ("error", type(outcome).__name__, outcome.status)
        assert last.delivery == str(outcome.delivery)
        assert len(last.attempts) == outcome.attempts
    else:
        assert (last.event, last.status) == ("reply", outcome.status)
        assert len(last.attempts) == outcome.attempts
    assert all(attempt.took_s > 0 and last.at - 20 < attempt.at <= last.at for attempt in last.attempts)


def test_a_retry_and_a_parking_are_in_it(watched: Watched, told: dict[str, tuple[str, Any]]) -> None:
    (only,) = entries(watched, "busy-once")
    assert [(a.number, a.outcome, a.status) for a in only.attempts] == [
        (1, "ServiceUnavailableError", 503),
        (2, "reply", 200),
    ]
    parked, done = entries(watched, "parked")
    assert (parked.event, parked.why, parked.parks, done.event, done.parks) == ("parked", "breaker", 0, "reply", 1)


def test_nothing_of_a_payload(watched: Watched, told: dict[str, tuple[str, Any]]) -> None:
    with redis.Redis.from_url(watched.environ["GATEWAY_RESULT_URL"]) as client:
        text = repr(client.xrange(KEY))
    assert "secret-number" not in text
    assert "payload-1" not in text


def test_one_call_is_followed(watched: Watched, told: dict[str, tuple[str, Any]]) -> None:
    shown = run(watched, "--correlation-id", "c-busy-once")
    assert shown.exit_code == 0, shown.output
    assert "billing GET /busy-once/{n}" in shown.output
    assert "attempt 1  ServiceUnavailableError 503" in shown.output
    assert "attempt 2  200" in shown.output
    by_id = run(watched, "--call-id", told["parked"][0])
    assert "parked: breaker" in by_id.output
    assert "now:" not in by_id.output
    document = json.loads(run(watched, "--call-id", told["hangs"][0], "--json").output)
    assert document[told["hangs"][0]]["state"] == "done"
    assert document[told["hangs"][0]]["history"][0]["error"] == "OutcomeUnknownError"


def test_they_are_listed(watched: Watched, told: dict[str, tuple[str, Any]]) -> None:
    whole = run(watched)
    assert all(f"c-{name}" in whole.output for name, _, _ in CALLS)
    only = json.loads(run(watched, "--error", "ServiceRejectedError", "--json").output)
    assert [entry["correlation_id"] for entry in only] == ["c-missing"]
    assert json.loads(run(watched, "--service", "open", "--limit", "1", "--json").output)[0]["event"] == "reply"
    assert "is such a one" in run(watched, "--caller", "nobody").output


def test_what_is_not_there(watched: Watched, told: dict[str, tuple[str, Any]]) -> None:
    for option in ("--correlation-id", "--call-id"):
        missing = run(watched, option, "no-such-thing")
        assert missing.exit_code == 1
        assert "no such call among the latest" in missing.output
    assert "'yesterday' is not a time; write 90s" in run(watched, "--since", "yesterday").output


def test_a_call_that_runs_and_is_cancelled(watched: Watched) -> None:
    watched.service.behave("/slow", Conduct(delay_s=5.0))
    pending = watched.gateway.submit(RestCall("billing", "GET", "/slow"), deadline=20.0)
    # A time-out of 0.5 s, and then another attempt.
    eventually(lambda: watched.service.arrivals("/slow"), "it runs")
    shown = run(watched, "--call-id", pending.id)
    assert re.search(
        rf"call {pending.id}: running; in \S+; \d attempts? started; deadline [\d:.]+, in (19|20).* s\n", shown.output
    )
    assert pending.cancel()
    with pytest.raises(CallCancelledError) as error:
        pending.result(timeout=10)
    eventually(lambda: "CallCancelledError" in run(watched, "--call-id", pending.id).output, "its end is written")
    (entry,) = json.loads(run(watched, "--call-id", pending.id, "--json").output)[pending.id]["history"]
    assert len(entry["attempts"]) == error.value.attempts
    assert entry["attempts"][-1]["outcome"] == "cancelled"


def test_a_call_that_is_parked_now(watched: Watched) -> None:
    watched.service.behave("/down-again", Conduct(status=500, first=1))
    with pytest.raises(ServiceError):
        watched.gateway.submit(RestCall("open", "POST", "/down-again"), deadline=20.0).result(timeout=10)
    pending = watched.gateway.submit(RestCall("open", "GET", "/p"), correlation_id="c-now", deadline=20.0)
    eventually(lambda: pending.state is CallState.PARKED and entries(watched, "now"), "it is parked")
    shown = run(watched, "--correlation-id", "c-now").output
    assert "now: parked; waits for: breaker; deadline " in shown
    present = json.loads(run(watched, "--call-id", pending.id, "--json").output)[pending.id]
    assert (present["state"], present["now"]["why"]) == ("parked", "breaker")
    assert pending.result(timeout=20).status == 200


def test_a_message_that_became_no_call(watched: Watched) -> None:
    wrong = {"protocol": "rest", "service": "billing", "method": "payload-canary", "route": "/"}
    kwargs = {"version": 1, "call": wrong, "correlation_id": "c-wrong"}
    sent = watched.gateway.celery.send_task("gateway.call", kwargs=kwargs, queue="gateway.billing")
    eventually(lambda: entries(watched, "wrong"), "it is refused")
    shown = run(watched, "--call-id", sent.id).output
    assert "InvalidCallError" in shown
    assert "method: it is not valid; use one of GET" in shown
    assert "payload-canary" not in shown


def test_entries_are_followed_and_none_is_missed(watched: Watched) -> None:
    with History.open(watched.environ["GATEWAY_RESULT_URL"]) as history:
        newest = history.newest()
        pending = watched.gateway.submit_many([RestCall("billing", "GET", "/followed")] * 20, deadline=20.0)
        assert {each.result(timeout=10).status for each in pending} == {200}
        seen: set[str] = set()
        for entry in history.follow(Wanted(operation="GET /followed"), newest, wait_s=2.0):
            assert entry is not None, "one was missed"
            seen.add(entry.call_id)
            if len(seen) == 20:
                break
        assert seen == {each.id for each in pending}


def test_a_history_that_is_off_or_away(watched: Watched) -> None:
    # Another database of the same server: nobody writes there.
    empty = {"GATEWAY_RESULT_URL": watched.valkey.url(5)}
    for arguments, status in (((), 0), (("--call-id", "x"), 1)):
        shown = CliRunner(env={**watched.environ, **empty}).invoke(main, ["calls", *arguments])
        assert (shown.exit_code, "or all workers run with GATEWAY_HISTORY=off" in shown.output) == (status, True)
    away = {"GATEWAY_RESULT_URL": f"redis://127.0.0.1:{free_port()}/0"}
    shown = CliRunner(env={**watched.environ, **away}).invoke(main, ["calls"])
    assert shown.exit_code == 1
    assert "start it, or correct GATEWAY_RESULT_URL" in shown.output


async def test_a_store_that_is_away_is_waited_for_and_what_is_lost_is_counted(watched: Watched) -> None:
    url = watched.environ["GATEWAY_RESULT_URL"]
    writer = HistoryWriter(100_000, FleetClock())
    away, back = open_async(f"redis://127.0.0.1:{free_port()}/0"), open_async(url)
    tell = writer.handlers[CallRefused]
    try:
        writer.start(away)
        for number in range(5100):
            tell(CallRefused(f"away-{number}", ServiceTimeoutError("too late")))
        assert writer.lost == 100
        await asyncio.sleep(0.3)
        assert writer.lost == 100, "the others go on waiting"
        writer.start(back)
        with History.open(url) as history:
            wanted = Wanted(call_id="away-5099")
            for _ in range(100):
                if history.latest(wanted, 1):
                    break
                await asyncio.sleep(0.1)
            assert history.latest(wanted, 1)
            assert history.latest(Wanted(call_id="away-100"), 1)
            assert not history.latest(Wanted(call_id="away-99"), 1)
    finally:
        await writer.close()
        await away.aclose()
        await back.aclose()


def test_it_is_bounded(tmp_path: Path) -> None:
    with Watched(tmp_path, CATALOGUE, GATEWAY_HISTORY="100") as made:
        pending = made.gateway.submit_many([RestCall("billing", "GET", "/well/1")] * 1000, deadline=60.0)
        assert {each.result(timeout=30).status for each in pending} == {200}
        with History.open(made.environ["GATEWAY_RESULT_URL"]) as history:
            # Redis trims whole nodes of its tree, of 100 entries each.
            eventually(lambda: 100 <= len(history) <= 300, "about as many as were asked for")


@pytest.mark.parametrize(("written", "length"), [("", 20_000), ("off", 0), ("0", 0), ("500", 500)])
def test_its_length(written: str, length: int) -> None:
    assert history_length({"GATEWAY_HISTORY": written}) == length


@pytest.mark.parametrize("written", ["many", "-1", "1e6", "99999999999"])
def test_no_length(written: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAY_HISTORY is no number of entries"):
        history_length({"GATEWAY_HISTORY": written})
