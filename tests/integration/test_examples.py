"""Every example runs as it stands, and so does the code in the documents."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.stack import Stack

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, stack: Stack) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=stack.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("first_call", "REST: Ada Lovelace 200"),
        ("first_call", "refused: 404 NOT_FOUND (answered)"),
        ("asyncio_calls", "50 replies, the slowest after 0."),
        ("chain", "chain: ada@example.com\nchord: 200"),
        ("plain_celery", "Ada Lovelace"),
        ("careful_calls", "one call: True · Barbara Liskov"),
        ("careful_calls", "ask the service, or a person: maybe_sent ServiceTimeoutError"),
        ("replay", "replayed: 201 Grace Hopper"),
    ],
)
def test_an_example(stack: Stack, name: str, said: str) -> None:
    assert said in run((ROOT / "examples" / f"{name}.py").read_text(), stack)


@pytest.mark.parametrize(
    ("document", "said"), [("README.md", "Ada Lovelace 200 1"), ("docs/message-contract.md", "Ada Lovelace")]
)
def test_the_code_in_a_document(stack: Stack, document: str, said: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    for address in ("redis://localhost:6379/0",):
        code = code.replace(f'broker="{address}"', f'broker="{stack.settings.broker_url}"')
        code = code.replace(f'backend="{address}"', f'backend="{stack.settings.result_url}"')
    assert said in run(code, stack)


def test_the_commands(stack: Stack) -> None:
    def gateway(*arguments: str, status: int = 0, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "from gateway.cli import main; main()", *arguments],
            env={**stack.environment, **(env or {}), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "Ada Lovelace" in gateway("call", "user-service", "GET", "/users/{user_id}", "-p", "user_id=123")
    assert "Ada Lovelace" in gateway(
        "call", "user-service", "goodgo.user.v1.UserService/GetUser", "-d", '{"user_id": "123"}'
    )
    query = "query($id: ID!) { user(id: $id) { name } }"
    assert "Ada Lovelace" in gateway("call", "user-service", query, "-d", '{"id": "123"}')
    assert '"ServiceRejectedError"' in gateway("call", "user-service", "GET", "/users/{id}", "-p", "id=999", status=1)
    assert "did you mean 'user-service'" in gateway("call", "user-servce", "GET", "/", status=2)
    assert "is not JSON" in gateway("call", "user-service", "GET", "/", "-d", "{", status=2)
    assert "goodgo" not in gateway("services")
    assert "user-service" in gateway("services")
    assert "https://json-schema.org/draft/2020-12/schema" in gateway("schema")
    found = gateway("doctor")
    assert "evicts nothing" in found
    assert stack.users.key not in found
    assert "env:INTERNAL_API_KEY: is not set" in gateway("doctor", status=1, env={"INTERNAL_API_KEY": ""})
    nowhere = {"GATEWAY_BROKER_URL": "redis://:hunter2@127.0.0.1:1/0"}
    found = gateway("doctor", status=1, env=nowhere)
    assert "does not answer" in found
    assert "hunter2" not in found
