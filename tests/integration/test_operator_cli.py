"""`gateway breakers`, `services` and `explain` on a real server: what they show of the fleet, and what they change."""

import getpass
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import redis
from click.testing import CliRunner, Result

from gateway import Catalogue, Gateway, PendingCall, RestCall, Settings, fleet_keys
from gateway.cli import main
from gateway.dev.process import free_port
from gateway.dev.valkey import Valkey
from gateway.errors import CircuitOpenError, ServiceRejectedError
from tests.integration.stack import Stack
from tests.servers.worker import Worker

DATABASE = 10
CATALOGUE = """
[services.user-service]
rest.url = "http://users"
limit = { rate = "200/s", concurrency = 50, adaptive = true }

[services.partner]
rest.url = "http://partner"
breaker = { enabled = false }
"""
Run: TypeAlias = Callable[..., Result]


@pytest.fixture
def store(valkey: Valkey) -> Iterator[Any]:
    with redis.Redis.from_url(valkey.url(DATABASE), decode_responses=True) as client:
        client.flushdb()
        yield client


@pytest.fixture
def run(valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    config = tmp_path / "catalogue.toml"
    config.write_text(CATALOGUE)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, columns: int = 80, **environment: str | None) -> Result:
        env = {"GATEWAY_BROKER_URL": valkey.url(DATABASE), "GATEWAY_CONFIG": str(config), "COLUMNS": str(columns)}
        return CliRunner(env={**env, "GATEWAY_RESULT_URL": None, **environment}).invoke(main, arguments)

    return run


def words(shown: Result) -> str:
    return " ".join(shown.output.split())


def fill(store: Any) -> None:
    """A state of everything, as workers leave it."""
    seconds, _ = store.time()
    gate = {"phase": "open", "epoch": 3, "until": seconds + 450, "opened_at": seconds - 90, "trips": 2}
    store.hset(fleet_keys.breaker("user-service"), mapping={**gate, "reason": "5 failures in a row", "by": "w1:77"})
    store.zadd(fleet_keys.inflight("user-service"), {"c1#1": seconds + 60, "c2#1": seconds + 60, "dead#1": seconds - 9})
    store.hset(fleet_keys.limit("user-service"), mapping={"blocked_until": seconds + 900, "adaptive": 31.7})
    store.hset(fleet_keys.budget("user-service"), mapping={"tokens": -2000, "at": seconds})
    store.zadd(fleet_keys.parked("user-service"), {"c3": seconds + 900})
    store.sadd(fleet_keys.SERVICES, "user-service", "gone")


def test_breakers_of_a_fleet(store: Any, run: Run) -> None:
    fill(store)
    shown = run("breakers")
    assert shown.exit_code == 0, shown.output
    assert len(run("breakers", "list").output.splitlines()) == len(shown.output.splitlines())
    lines = [line.split() for line in shown.output.splitlines()]
    (users,) = [line for line in lines if line[:2] == ["user-service", "open"]]
    assert 90 <= int(users[2]) < 110
    assert users[-5:] == ["5", "failures", "in", "a", "row"]
    assert ["gone", "closed", "0"] in lines
    assert ["partner", "off", "0"] in lines
    assert max(map(len, shown.output.splitlines())) <= 80


def test_breakers_as_json(store: Any, run: Run) -> None:
    fill(store)
    said = json.loads(run("breakers", "--json").output)
    assert list(said) == ["user-service", "gone", "partner"]  # what needs a look comes first
    users = said["user-service"]
    assert (users["phase"], users["by_hand"], users["trips"], users["by"]) == ("open", False, 2, "w1:77")
    assert 430 < users["probes_in_s"] <= 450
    run("breakers", "open", "gone")
    gone = json.loads(run("breakers", "list", "--json").output)["gone"]
    assert (gone["by_hand"], gone["probes_in_s"]) == (True, None)


def test_open_close_and_reset(store: Any, run: Run) -> None:
    fill(store)
    shown = run("breakers", "open", "user-service", "--reason", "maintenance [until five]")
    assert shown.exit_code == 0, shown.output
    assert "open until `gateway breakers close user-service`" in shown.output
    found = store.hgetall(fleet_keys.breaker("user-service"))
    assert (found["phase"], found["until"], found["epoch"]) == ("open", "inf", "4")
    assert found["by"] == f"{getpass.getuser()}@{socket.gethostname()} by hand"
    listed = words(run("breakers", columns=120))
    assert "by hand" in listed
    assert "maintenance [until five]" in listed
    assert run("breakers", "close", "user-service").exit_code == 0
    assert store.hget(fleet_keys.breaker("user-service"), "phase") == "closed"
    assert run("breakers", "reset", "user-service").exit_code == 0
    assert store.hgetall(fleet_keys.breaker("user-service")) == {"phase": "closed", "epoch": "6"}


def test_a_terminal_is_not_at_the_mercy_of_a_reason(store: Any, run: Run) -> None:
    fill(store)
    run("breakers", "open", "gone", "--reason", "a\x1b[2Jb")
    store.hset(fleet_keys.breaker("user-service"), mapping={"reason": "c\x1b]0;d", "by": "\x07"})
    for command in (("breakers",), ("explain", "user-service", "GET", "/")):
        assert not {"\x1b", "\x07"} & set(run(*command).output)


@pytest.mark.parametrize("command", ["open", "close", "reset"])
def test_a_service_that_nobody_knows(store: Any, run: Run, command: str) -> None:
    near = run("breakers", command, "user-servise")
    assert (near.exit_code, near.output) == (1, "Error: no service 'user-servise'; did you mean 'user-service'?\n")
    assert "there are partner, user-service" in run("breakers", command, "xyz").output
    assert not store.keys("*")


def test_breakers_without_a_catalogue(store: Any, run: Run) -> None:
    assert "no breakers" in run("breakers", GATEWAY_CONFIG=None).output
    unknown = run("breakers", "open", "user-service", GATEWAY_CONFIG=None)
    assert unknown.exit_code == 1
    assert "set GATEWAY_CONFIG" in unknown.output
    fill(store)
    assert run("breakers", "open", "gone", GATEWAY_CONFIG=None).exit_code == 0
    assert "did you mean 'gone'?" in run("breakers", "close", "gonne", GATEWAY_CONFIG=None).output


def test_breakers_without_a_fleet(run: Run) -> None:
    for command in (("breakers",), ("breakers", "open", "partner")):
        shown = run(*command, GATEWAY_BROKER_URL=f"redis://127.0.0.1:{free_port()}/0")
        assert shown.exit_code == 1
        assert "the result store does not answer" in shown.output
        assert "correct GATEWAY_RESULT_URL" in shown.output


def test_services_at_a_glance(store: Any, run: Run) -> None:
    fill(store)
    shown = run("services", columns=120)
    assert shown.exit_code == 0, shown.output
    said = words(shown)
    assert "user-service open, probes in 4" in said
    assert re.search(r"2/31 200/s, blocked 15 min -\d+ 1 ", said)
    assert "partner off 0/100 no limit 10 0" in said
    assert max(map(len, run("services").output.splitlines())) <= 80
    found = json.loads(run("services", "--json").output)["services"]["user-service"]["state"]
    assert (found["in_flight"], found["concurrency"], found["rate"], found["parked"]) == (2, 31, "200/s", 1)
    assert found["retries_left"] < -1900
    assert 890 < found["blocked_for_s"] <= 900
    assert found["breaker"]["phase"] == "open"


def test_services_of_a_fleet_that_says_nothing(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        shown = run("services", GATEWAY_BROKER_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        assert time.monotonic() - started < 2
    assert shown.exit_code == 0
    assert "user-service" in shown.output
    assert "state unknown: the result store does not answer" in words(shown)
    said = json.loads(run("services", "--json", GATEWAY_BROKER_URL="").output)
    assert said["services"]["partner"]["state"] is None
    assert "GATEWAY_BROKER_URL is not set" in said["state_unknown"]


def test_explain_says_how_things_stand(store: Any, run: Run) -> None:
    fill(store)
    shown = run("explain", "user-service", "GET", "/users", columns=120)
    assert shown.exit_code == 0, shown.output
    said = words(shown)
    assert "breaker open, probes in 4" in said
    assert "(5 failures in a row, w1:77), opened 2 times" in said
    assert "rate 200/s, blocked for 15 min as the service asked" in said
    assert "in flight 2 of 31 (found from latency; 50 at most)" in said
    assert "parked 1 call, the first due in 15 min" in said
    assert "breaker off" in words(run("explain", "partner", "GET", "/"))


def test_doctor_compares_the_clocks(run: Run) -> None:
    shown = run("doctor", columns=200)
    assert shown.exit_code == 0, shown.output
    assert "answers, and evicts nothing" in shown.output
    assert "clock is" not in shown.output  # this host has the server's


def test_a_breaker_that_is_switched_off_cannot_be_opened(store: Any, run: Run) -> None:
    shown = run("breakers", "open", "partner")
    assert shown.exit_code == 1
    assert "partner has no breaker (breaker.enabled = false in " in words(shown)
    assert not store.exists(fleet_keys.breaker("partner"))
    assert json.loads(run("breakers", "--json").output)["partner"]["enabled"] is False


def test_by_hand_acts_on_the_next_call(stack: Stack, valkey: Valkey, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[services.user-service]\nrest.url = "${USER_SERVICE_URL}"\n')
    urls = {"GATEWAY_BROKER_URL": valkey.url(11), "GATEWAY_RESULT_URL": valkey.url(12), "GATEWAY_CONFIG": str(config)}
    environment = {**urls, "USER_SERVICE_URL": stack.users.rest_url, "COLUMNS": "120"}
    call = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"})

    def shell(*arguments: str) -> Result:
        return CliRunner(env=environment).invoke(main, arguments)

    worker = Worker("workers.app", tmp_path, env=environment, concurrency=10)
    try:
        with Gateway(Settings.from_env(environment), Catalogue.load(config)) as gateway:
            assert _asked(gateway.submit(call))
            assert shell("breakers", "open", "user-service", "--reason", "test").exit_code == 0
            with pytest.raises(CircuitOpenError):
                gateway.submit(call, deadline=2.0).result(timeout=20)
            parked = gateway.submit(call, deadline=60.0)
            ends = time.monotonic() + 20
            while "parked 1 call," not in (said := words(shell("explain", "user-service", "GET", "/"))):
                assert time.monotonic() < ends, said
                time.sleep(0.05)
            assert "open by hand (test, " in said
            assert shell("breakers", "close", "user-service").exit_code == 0
            assert _asked(parked)
            assert json.loads(shell("breakers", "--json").output)["user-service"]["phase"] == "closed"
    finally:
        worker.process.stop()


def _asked(pending: PendingCall) -> bool:
    """Whether the service was asked: without a key it says no, which is an answer."""
    with pytest.raises(ServiceRejectedError):
        pending.result(timeout=20)
    return True
