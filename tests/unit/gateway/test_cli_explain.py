"""What `gateway explain` says of a call without a fleet: values, where they are written, bounds and collisions."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.explain import explain
from gateway.dev.process import free_port

CATALOGUE = """
[defaults]
timeouts = { total = 12.0 }

[services.user-service]
rest.url = "${USER_SERVICE_URL}"
graphql.url = "${USER_SERVICE_URL}/graphql"
grpc = { target = "users:50051", reflection = true }
limit = { rate = "200/s" }

[services.user-service.operations."GET /users/{user_id}"]
retry = { attempts = 4 }
hedge = { after = 3.0 }
"""
GET_USER = ("user-service", "GET", "/users/{user_id}")


@pytest.fixture
def run(tmp_path: Path) -> Any:
    path = tmp_path / "gateway.toml"
    path.write_text(CATALOGUE)

    def run(*arguments: str, columns: int = 80, **environment: str) -> Result:
        env = {"GATEWAY_CONFIG": str(path), "COLUMNS": str(columns), "GATEWAY_BROKER_URL": "", **environment}
        return CliRunner(env=env).invoke(explain, arguments)

    return run


@pytest.mark.parametrize("columns", [80, 120])
def test_values_and_where_they_are_written(run: Any, columns: int) -> None:
    shown = run(*GET_USER, columns=columns)
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.output.splitlines()]
    assert ["timeouts.total", "12", "s", "[defaults]"] in lines
    assert ["limit.rate", "200/s", "[services.user-service]"] in lines
    assert ["retry.backoff", "0.1", "s", "built", "in"] in lines
    assert "\nrest, idempotent: GET is (RFC 9110, section 9.2.2)\n" in shown.output
    assert max(map(len, shown.output.splitlines())) <= columns
    joined = "".join(shown.output.split())
    assert '[services.user-service.operations."GET/users/{user_id}"]' in joined


def test_the_layers_stand_in_their_order(run: Any) -> None:
    said = run(*GET_USER).output
    places = [
        said.index(f"\n{number} {layer}")
        for number, layer in enumerate(("deadline", "retry", "hedge", "admission", "attempt"), 1)
    ]
    assert places == sorted(places)
    assert "lease, breaker, limit, concurrency, budget" in said


def test_the_worst_case_and_what_collides(run: Any) -> None:
    said = " ".join(run(*GET_USER, "--deadline", "10").output.split())
    assert "4 of 3 s, backoffs of 0.7 s and waits for their admission of 1 s: 13.7 s; longer if the service" in said
    assert "in workers 10 s, bounded by the deadline" in said
    assert "with parking 10 s: what waits outside the workers waits until the deadline" in said
    assert said.count("collision:") == 4
    assert "No value collides" in run("user-service", "POST", "/users").output


def test_strict_turns_collisions_into_an_exit_code(run: Any) -> None:
    assert run(*GET_USER, "--strict").exit_code == 1
    assert run(*GET_USER).exit_code == 0
    assert run("user-service", "POST", "/users", "--strict").exit_code == 0


def test_a_single_attempt_has_no_waits_between(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_text('[services.u]\nrest.url = "http://u"\nretry = { attempts = 1 }\ntimeouts = { attempt = 2.0 }\n')
    said = " ".join(run("u", "GET", "/", GATEWAY_CONFIG=str(path)).output.split())
    assert "attempts 1 of 2 s and waits for their admission of 0.25 s: 2.25 s in workers 2.25 s" in said


@pytest.mark.parametrize("operation", [("GET", "/"), ("POST", "/"), ("a.B/C",)])
def test_after_which_answers_any_call_is_repeated(run: Any, operation: tuple[str, ...]) -> None:
    said = " ".join(run("user-service", *operation).output.split())
    assert "one of retry.refused or a 503 with Retry-After" in said


def test_what_it_says_of_other_protocols(run: Any) -> None:
    assert "graphql, idempotent: a query is" in run("user-service", "query", "GetUser").output
    method = run("user-service", "goodgo.user.v1.UserService/GetUser").output
    assert "grpc, idempotent or not: as its descriptor says" in method
    assert "an idempotency key" in run("user-service", "POST", "/users", "--keyed").output
    assert "note: policies go by the route's template" in run("user-service", "GET", "/users/123").output


@pytest.mark.parametrize("columns", [80, 120])
def test_a_state_that_is_unknown_says_why(run: Any, columns: int) -> None:
    assert "state unknown: GATEWAY_BROKER_URL is not set" in run(*GET_USER, columns=columns).output
    away = f"redis://127.0.0.1:{free_port()}/0"
    shown = run(*GET_USER, GATEWAY_BROKER_URL=away)
    assert shown.exit_code == 0
    assert "state unknown: the result store does not answer" in " ".join(shown.output.split())


def test_as_json(run: Any) -> None:
    shown = run(*GET_USER, "--json")
    said = json.loads(shown.output)
    assert (said["operation"], said["idempotent"], said["state"]) == ("GET /users/{user_id}", True, None)
    assert "GATEWAY_BROKER_URL is not set" in said["state_unknown"]
    settings = {setting["key"]: setting for setting in said["settings"]}
    assert settings["retry.attempts"] == {
        "layer": "retry",
        "key": "retry.attempts",
        "value": 4,
        "from": '[services.user-service.operations."GET /users/{user_id}"]',
    }
    assert said["worst_case_s"]["in_workers"] == 12.0
    assert said["worst_case_s"]["attempts"] == pytest.approx(13.7)
    assert said["worst_case_s"]["of_them_admissions"] == 1.0
    assert said["worst_case_s"]["bounded_by"] == "timeouts.total"
    assert len(said["collisions"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("user-servce", "GET", "/"), "did you mean 'user-service'?"),
        (("user-service", "nonsense"), "is no operation"),
        (("user-service", "GET", "/", "--deadline", "0"), "--deadline"),
    ],
)
def test_what_cannot_be_explained(run: Any, arguments: tuple[str, ...], said: str) -> None:
    shown = run(*arguments)
    assert shown.exit_code == 2
    assert said in shown.output


def test_rabbitmq_loses_no_call_by_time(run: Any) -> None:
    redis, rabbit = "redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"
    slow = ("user-service", "POST", "/", "--deadline", "4000")
    assert "visibility timeout of 312 s" in " ".join(run(*slow, GATEWAY_BROKER_URL=redis).output.split())
    assert "visibility" not in run(*slow, GATEWAY_BROKER_URL=rabbit, GATEWAY_RESULT_URL=redis).output
