"""Each protocol has its own attributes, and hands the trace on in its own way."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from gateway import Call, GraphQLCall, GrpcCall, RestCall
from gateway.cli import main
from gateway.dev.valkey import Valkey
from gateway.errors import ServiceError
from tests.integration.pool_rig import eventually
from tests.integration.stack import Stack
from tests.observation.spans import SpanReceiver, attributes

ROOT = Path(__file__).resolve().parents[2]
GET_USER = "goodgo.user.v1.UserService/GetUser"


@pytest.fixture(scope="module")
def receiver() -> Iterator[SpanReceiver]:
    with SpanReceiver() as made:
        yield made


@pytest.fixture(scope="module")
def stack(receiver: SpanReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    valkey = Valkey(tmp_path_factory.mktemp("valkey"))
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        environ.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        made = Stack(valkey, tmp_path_factory.mktemp("stack"))
    yield made
    made.close()
    valkey.stop()


def traced(stack: Stack, call: Call) -> str:
    """Make it in a new trace; the trace's id."""
    trace_id = f"{RandomIdGenerator().generate_trace_id():032x}"
    pending = stack.gateway.submit(call, traceparent=f"00-{trace_id}-{'b' * 16}-01", deadline=20.0)
    with suppress(ServiceError):
        pending.result(timeout=20)
    return trace_id


def seen_by_the_service(stack: Stack, operation: str) -> str | None:
    """The `traceparent` of the latest request of an operation."""
    answer = httpx.get(f"{stack.users.rest_url}/stats", headers={"x-service-auth": stack.users.key})
    found: str | None = answer.json()["last"][operation].get("traceparent")
    return found


@pytest.mark.parametrize(
    ("call", "seen_as", "name", "expected", "failed"),
    [
        (
            RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"}),
            "GET /users/{user_id}",
            "GET /users/{user_id}",
            {"http.request.method": "GET", "url.template": "/users/{user_id}", "http.response.status_code": 200},
            None,
        ),
        (
            GrpcCall("user-service", GET_USER, {"user_id": "123"}),
            GET_USER,
            GET_USER,
            {
                "rpc.system": "grpc",
                "rpc.service": "goodgo.user.v1.UserService",
                "rpc.method": "GetUser",
                "rpc.response.status_code": "OK",
            },
            None,
        ),
        (
            GrpcCall("user-service", GET_USER, {"user_id": "404"}),
            GET_USER,
            GET_USER,
            {"rpc.response.status_code": "NOT_FOUND", "gateway.delivery": "answered"},
            "ServiceRejectedError",
        ),
        (
            GraphQLCall("user-service", "query GetUser($id: ID!) { user(id: $id) { name } }", {"id": "123"}),
            "query GetUser",
            "query GetUser",
            {
                "http.request.method": "POST",
                "graphql.operation.name": "query GetUser",
                "http.response.status_code": 200,
            },
            None,
        ),
        (
            GraphQLCall(
                "user-service", "query Manager($id: ID!) { user(id: $id) { name manager { name } } }", {"id": "123"}
            ),
            "query Manager",
            "query Manager",
            {"http.response.status_code": 200},
            "GraphQLError",
        ),
    ],
    ids=["rest", "grpc", "grpc-error", "graphql", "graphql-error"],
)
def test_an_attempt_says_what_was_asked_and_the_service_goes_on_from_it(
    stack: Stack,
    receiver: SpanReceiver,
    call: Call,
    seen_as: str,
    name: str,
    expected: dict[str, Any],
    failed: str | None,
) -> None:
    trace_id = traced(stack, call)
    eventually(lambda: len(receiver.of(trace_id)) == 2, "both spans have come")
    process, attempt = receiver.of(trace_id)
    assert process.parent_span_id.hex() == "b" * 16
    assert attempt.parent_span_id == process.span_id
    assert attempt.name == name
    assert attributes(attempt).items() >= expected.items()
    assert attributes(attempt).get("error.type") == failed
    assert attributes(process).get("error.type") == failed
    assert seen_by_the_service(stack, seen_as) == f"00-{trace_id}-{attempt.span_id.hex()}-01"


def test_a_replay_is_linked_to_the_call_that_failed(stack: Stack, receiver: SpanReceiver) -> None:
    missing = RestCall("wrong-key", "GET", "/users/{user_id}", path={"user_id": "123"})
    trace_id = traced(stack, missing)
    (letter,) = [
        letter for letter in json.loads(gateway(stack, "dead", "list", "--json")) if letter["service"] == "wrong-key"
    ]
    eventually(lambda: len(receiver.of(trace_id)) == 2, "the spans of the first one have come")
    first, _ = receiver.of(trace_id)
    gateway(stack, "dead", "replay", letter["id"], "--yes")
    eventually(lambda: len(receiver.of(trace_id)) == 4, "those of the replay have come too")
    replay = receiver.of(trace_id)[2]
    assert replay.name == "process gateway.wrong-key"
    (link,) = replay.links
    assert link.span_id.hex() == "b" * 16, "where the call that failed came from, and goes on"
    assert attributes(link) == {"gateway.link": "replay of", "messaging.message.id": letter["id"]}
    assert attributes(replay)["messaging.message.id"] != letter["id"]
    assert not first.links


def gateway(stack: Stack, *arguments: str) -> str:
    """A command, and what it says."""
    done = CliRunner(env=stack.environment).invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_example_is_one_trace(stack: Stack, receiver: SpanReceiver) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "traced_call.py")],
        env={**os.environ, **stack.environment, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = re.fullmatch(r"Ada Lovelace in trace ([0-9a-f]{32})\n", done.stdout)
    assert said is not None, done.stdout
    eventually(lambda: len(receiver.of(said[1])) == 4, "the producer's spans and the worker's")
    order, create, process, attempt = receiver.of(said[1])
    assert [span.name for span in (order, create, process, attempt)] == [
        "order",
        "create gateway.user-service",
        "process gateway.user-service",
        "GET /users/{user_id}",
    ]
    assert [span.parent_span_id for span in (create, process, attempt)] == [
        order.span_id,
        create.span_id,
        process.span_id,
    ]
