"""`gateway call`: its exit code says whether the call was enqueued."""

import json
import subprocess
import sys
from collections.abc import Mapping

import pytest

from gateway.dev.process import free_port
from tests.integration.stack import Stack

GET_ADA = ("user-service", "GET", "/users/123")


def call(environment: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-c", "from gateway.cli import main; main()", "call", *arguments]
    return subprocess.run(argv, env=dict(environment), capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (GET_ADA, 0, '"name": "Ada Lovelace"'),
        (("user-service", "GET", "/users/999"), 1, '"error": "ServiceRejectedError"'),
        # The worker alone knows the fields of the message: the call was enqueued.
        (
            ("user-service", "goodgo.user.v1.UserService/GetUser", "-d", '{"no_such_field": 1}'),
            1,
            '"error": "InvalidCallError"',
        ),
        (("user-service", "GET", "/../x"), 2, "route"),
        (("nobody", "GET", "/"), 2, "nobody"),
        ((*GET_ADA, "--correlation-id", ""), 2, "correlation_id"),
    ],
)
def test_the_exit_code(stack: Stack, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = call(stack.environment, *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("variable", ["GATEWAY_BROKER_URL", "GATEWAY_RESULT_URL"])
def test_a_call_that_was_surely_not_enqueued(stack: Stack, variable: str) -> None:
    done = call({**stack.environment, variable: f"redis://127.0.0.1:{free_port()}/0"}, *GET_ADA)
    assert done.returncode == 2, done.stderr
    said = json.loads(done.stdout)
    assert (said["error"], said["delivery"]) == ("GatewayUnavailableError", "not_sent")


def test_a_wrong_environment(stack: Stack) -> None:
    done = call({**stack.environment, "GATEWAY_RESULT_URL": "sentinel://h:26379"}, *GET_ADA)
    assert done.returncode == 2
    assert "Sentinel" in done.stderr
