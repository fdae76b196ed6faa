"""GraphQL over HTTP: what goes out, and what comes back."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.call import GraphQLCall, RestCall
from gateway.errors import (
    Delivery,
    GraphQLError,
    InvalidReplyError,
    RateLimitedError,
    ServiceAuthError,
    ServiceError,
    ServiceFaultError,
    ServiceRejectedError,
    ServiceUnavailableError,
)
from gateway.policy import Policy
from gateway.service import GraphQLEndpoint, Service
from tests.conformance.contract import attempt_of, send_within
from tests.servers.http_faults import HttpFaults
from workers.transports.base import Answer
from workers.transports.graphql import GraphQLTransport

JSON, GRAPHQL = "application/json", "application/graphql-response+json"
CALL = GraphQLCall(
    "users", "query A($id: ID!) { user(id: $id) { id } } query B { ok }", {"id": "1"}, operation_name="A"
)


@pytest.fixture
async def faults() -> AsyncIterator[HttpFaults]:
    async with HttpFaults() as server:
        yield server


async def send(faults: HttpFaults, *, path: str = "/say", call: GraphQLCall = CALL) -> Any:
    service = Service(name="users", policy=Policy(), graphql=GraphQLEndpoint(url=faults.url + path))
    transport = GraphQLTransport(service)
    try:
        return await send_within(transport, attempt_of(call))
    finally:
        await transport.close()


async def test_the_request(faults: HttpFaults) -> None:
    answer = await send(faults, path="/ok/graphql?v=1")
    assert answer == Answer(status=200, headers={"content-length": "22", "content-type": JSON}, data={"ok": True})
    (arrival,) = faults.arrivals
    assert (arrival.method, arrival.target) == ("POST", "/ok/graphql?v=1")
    assert json.loads(arrival.body) == {"query": CALL.query, "variables": {"id": "1"}, "operationName": "A"}
    assert arrival.headers["content-type"] == JSON
    assert arrival.headers["accept"] == f"{GRAPHQL}, {JSON};q=0.9"


@pytest.mark.parametrize("content_type", [JSON, GRAPHQL])
@pytest.mark.parametrize(
    ("body", "message", "data"),
    [
        ({"errors": [{"message": "no such user"}]}, "no such user", None),
        ({"errors": [{"message": "a"}, {"message": "b"}], "data": {"user": None}}, "a (and 1 more)", {"user": None}),
        ({"errors": [{"path": ["user"]}], "data": None}, "the service gave no message", None),
    ],
)
async def test_errors(faults: HttpFaults, content_type: str, body: dict[str, Any], message: str, data: Any) -> None:
    faults.say = (200, content_type, json.dumps(body).encode())
    failure = await send(faults)
    assert (failure.error, failure.message, failure.status) == (GraphQLError, message, 200)
    assert failure.delivery is Delivery.ANSWERED
    error = failure.to_error(service="users", operation="query A")
    assert (error.errors, error.data) == (body["errors"], data)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b"[]"),
        (JSON, b"null"),
        (JSON, b""),
        (JSON, b"{}"),
        (JSON, b'{"data": null}'),
        (JSON, b'{"data": []}'),
        (JSON, b'{"errors": [], "data": null}'),
        (JSON, b'{"errors": "no"}'),
        (JSON, b'{"errors": ["no"], "data": {"a": 1}}'),
        (JSON, b'{"data": {"a": 1, "a": 2}}'),
        (JSON, b'{"data": {"a": ' + b"[" * 99 + b"]" * 99 + b"}}"),
        (JSON, b'{"errors": [{"message": ' + b"[" * 98 + b"]" * 98 + b"}]}"),
        (JSON, b'{"data": {"a": "\\ud800"}}'),
        (JSON, b'{"data": {"a": 1e999}}'),
        ("text/html", b"<html>"),
        ("text/plain", b'{"data": {}}'),
    ],
)
async def test_what_is_no_response(faults: HttpFaults, content_type: str, body: bytes) -> None:
    faults.say = (200, content_type, body)
    failure = await send(faults)
    assert (failure.error, failure.delivery, failure.status) == (InvalidReplyError, Delivery.ANSWERED, 200)


async def test_an_empty_list_of_errors_is_none(faults: HttpFaults) -> None:
    faults.say = (200, JSON, b'{"errors": [], "data": {"a": 1}}')
    assert (await send(faults)).data == {"a": 1}


@pytest.mark.parametrize(
    ("status", "content_type", "errors", "error"),
    [
        (400, GRAPHQL, True, GraphQLError),
        (400, JSON, True, GraphQLError),
        (400, JSON, False, ServiceRejectedError),
        (400, GRAPHQL, False, ServiceRejectedError),
        (422, GRAPHQL, True, GraphQLError),
        (422, JSON, True, ServiceRejectedError),
        (401, JSON, True, ServiceAuthError),
        (401, GRAPHQL, True, ServiceAuthError),
        (429, GRAPHQL, True, RateLimitedError),
        (500, GRAPHQL, True, ServiceFaultError),
        (503, GRAPHQL, True, ServiceUnavailableError),
        (500, JSON, True, ServiceFaultError),
        (503, JSON, True, ServiceUnavailableError),
        (302, JSON, True, ServiceRejectedError),
    ],
)
async def test_statuses(
    faults: HttpFaults, status: int, content_type: str, errors: bool, error: type[ServiceError]
) -> None:
    body = {"errors": [{"message": "no"}]} if errors else {"errors": "no"}
    faults.say = (status, content_type, json.dumps(body).encode())
    failure = await send(faults)
    assert (failure.error, failure.status) == (error, status)


async def test_details_of_another_error_are_bounded(faults: HttpFaults) -> None:
    faults.say = (500, JSON, b'{"a": "' + b"x" * 100_000 + b'"}')
    failure = await send(faults)
    assert len(failure.details) == 16 * 1024


def test_a_service_without_graphql_is_refused() -> None:
    with pytest.raises(ValueError, match=r"users has no `graphql\.url`"):
        GraphQLTransport(Service(name="users", policy=Policy()))


async def test_a_call_of_another_protocol_is_a_defect(faults: HttpFaults) -> None:
    service = Service(name="users", policy=Policy(), graphql=GraphQLEndpoint(url=faults.url))
    with pytest.raises(TypeError, match="GraphQLCall"):
        await GraphQLTransport(service).send(attempt_of(RestCall("users", "GET", "/")))
