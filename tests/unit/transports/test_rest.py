"""REST: what goes out, and what comes back."""

import dataclasses
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from gateway.call import GraphQLCall, RestCall
from gateway.errors import (
    Delivery,
    GatewayFaultError,
    InvalidReplyError,
    RateLimitedError,
    ServiceRejectedError,
    ServiceUnavailableError,
)
from gateway.policy import Policy
from gateway.service import RestEndpoint, Service
from tests.conformance.contract import attempt_of, send_within
from tests.servers.http_behaviours import Arrival
from tests.servers.http_faults import HttpFaults
from workers.transports.base import Answer
from workers.transports.rest import RestTransport


@pytest.fixture
async def faults() -> AsyncIterator[HttpFaults]:
    async with HttpFaults() as server:
        yield server


async def send(faults: HttpFaults, call: RestCall, *, base: str = "") -> Any:
    service = Service(name="users", policy=Policy(), rest=RestEndpoint(url=faults.url + base))
    transport = RestTransport(service)
    try:
        return await send_within(transport, attempt_of(call))
    finally:
        await transport.close()


async def arrival_of(faults: HttpFaults, call: RestCall, *, base: str = "") -> Arrival:
    answer = await send(faults, call, base=base)
    assert isinstance(answer, Answer), answer
    return faults.arrivals[-1]


@pytest.mark.parametrize(
    ("base", "route", "path", "query", "target"),
    [
        ("", "/users/{id}", {"id": "1"}, {}, "/users/1"),
        ("/", "/users", {}, {}, "/users"),
        ("/v1/api/", "/users", {}, {"a": ["1", "2"], "b": None}, "/v1/api/users?a=1&a=2"),
        ("", "/users/{id}", {"id": "a/b c%2Fd?#"}, {}, "/users/a%2Fb%20c%252Fd%3F%23"),
        ("", "/%7Euser/a%2Fb", {}, {"q": "a b&c=%"}, "/%7Euser/a%2Fb?q=a+b%26c%3D%25"),
        ("", "/users/{id}", {"id": "ü"}, {"ü": "ü"}, "/users/%C3%BC?%C3%BC=%C3%BC"),
        ("/v1?key=1", "/users", {}, {"a": "b"}, "/v1/users?key=1&a=b"),
        ("", "/", {}, {}, "/"),
    ],
)
async def test_target(
    faults: HttpFaults, base: str, route: str, path: Mapping[str, Any], query: Mapping[str, Any], target: str
) -> None:
    call = RestCall("users", "GET", route, path=dict(path), query=dict(query))
    assert (await arrival_of(faults, call, base=base)).target == target


@pytest.mark.parametrize(
    ("body", "content", "content_type"),
    [
        ({"json": {"a": [1, None]}}, b'{"a":[1,null]}', "application/json"),
        ({"json": None}, b"null", "application/json"),
        ({"form": {"a": ["1", "ü"], "b": True}}, b"a=1&a=%C3%BC&b=true", "application/x-www-form-urlencoded"),
        ({"content": b"\x00\xff"}, b"\x00\xff", "application/octet-stream"),
        ({"content": b"a,b", "content_type": "text/csv"}, b"a,b", "text/csv"),
        ({"content": b""}, b"", "application/octet-stream"),
    ],
)
async def test_bodies(faults: HttpFaults, body: dict[str, Any], content: bytes, content_type: str) -> None:
    arrival = await arrival_of(faults, RestCall("users", "POST", "/ok", **body))
    assert (arrival.body, arrival.headers["content-type"]) == (content, content_type)
    assert arrival.headers["content-length"] == str(len(content))


async def test_a_large_body_arrives_whole(faults: HttpFaults) -> None:
    content = bytes(range(256)) * 20_000
    assert (await arrival_of(faults, RestCall("users", "PUT", "/ok", content=content))).body == content


async def test_headers(faults: HttpFaults) -> None:
    call = RestCall("users", "POST", "/ok", headers={"X-Own": "1", "Accept": "text/csv", "X-Request-Id-2": "2"})
    arrival = await arrival_of(faults, call)
    assert arrival.headers == {
        "host": f"127.0.0.1:{faults.port}",
        "accept-encoding": "gzip, deflate, br, zstd",
        "user-agent": "call-gateway",
        "accept": "text/csv",
        "x-own": "1",
        "x-request-id-2": "2",
        "x-request-id": "r1",
        "content-length": "0",
    }


async def test_headers_of_the_attempt_win(faults: HttpFaults) -> None:
    call = RestCall("users", "GET", "/ok", headers={"X-Tenant": "producer"})
    attempt = dataclasses.replace(attempt_of(call), headers={"x-tenant": "interceptor"})
    transport = RestTransport(Service(name="users", policy=Policy(), rest=RestEndpoint(url=faults.url)))
    try:
        answer = await transport.send(attempt)
    finally:
        await transport.close()
    assert isinstance(answer, Answer)
    assert faults.arrivals[-1].headers["x-tenant"] == "interceptor"


async def test_reply_headers(faults: HttpFaults) -> None:
    answer = await send(faults, RestCall("users", "GET", "/status/200", query={"X-A": ["1", "2"], "Set-Cookie": "s"}))
    assert answer.headers == {"content-length": "14", "content-type": "application/json", "x-a": "1, 2"}
    assert answer.data == {"said": "no"}


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_replies_without_a_body(faults: HttpFaults, method: str, status: int) -> None:
    answer = await send(faults, RestCall("users", method, f"/bodiless/{status}"))
    assert (answer.status, answer.data) == (status, None)


async def test_a_rejection_keeps_what_the_service_said(faults: HttpFaults) -> None:
    failure = await send(faults, RestCall("users", "GET", "/status/422"))
    assert (failure.error, failure.status, failure.details) == (ServiceRejectedError, 422, {"said": "no"})


async def test_a_redirect_is_not_followed(faults: HttpFaults) -> None:
    failure = await send(faults, RestCall("users", "GET", "/status/302", query={"location": "/ok"}))
    assert (failure.error, failure.details) == (ServiceRejectedError, {"location": "%2Fok"})
    assert len(faults.arrivals) == 1


@pytest.mark.parametrize("depth", [101, 600, 9000])
async def test_json_that_nests_too_deep_is_no_reply(faults: HttpFaults, depth: int) -> None:
    faults.say = (200, "application/json", b"[" * depth + b"]" * depth)
    failure = await send(faults, RestCall("users", "GET", "/say"))
    assert (failure.error, failure.status, failure.delivery) == (InvalidReplyError, 200, Delivery.ANSWERED)


async def test_an_error_that_nests_too_deep_is_kept_as_text(faults: HttpFaults) -> None:
    faults.say = (404, "application/json", b"[" * 600 + b"]" * 600)
    failure = await send(faults, RestCall("users", "GET", "/say"))
    assert (failure.error, failure.details) == (ServiceRejectedError, "[" * 600 + "]" * 600)


async def test_a_limit_says_when(faults: HttpFaults) -> None:
    failure = await send(faults, RestCall("users", "GET", "/status/429", query={"retry-after": "7"}))
    assert (failure.error, failure.retry_after_s) == (RateLimitedError, 7.0)


@pytest.mark.parametrize("coding", ["gzip", "unheard-of"])
async def test_an_error_body_that_cannot_be_decoded_hides_no_status(faults: HttpFaults, coding: str) -> None:
    failure = await send(faults, RestCall("users", "GET", "/status/503", query={"content-encoding": coding}))
    assert (failure.error, failure.status, failure.details) == (ServiceUnavailableError, 503, None)


async def test_an_error_body_that_hangs_hides_no_status(faults: HttpFaults) -> None:
    failure = await send(faults, RestCall("users", "GET", "/hang-in-error-body"))
    assert (failure.error, failure.status, failure.details) == (ServiceUnavailableError, 503, "x" * 50)


async def test_a_large_error_body_is_cut(faults: HttpFaults) -> None:
    failure = await send(faults, RestCall("users", "GET", "/large-error"))
    assert (failure.status, failure.details) == (500, "é" * 8192)


async def test_a_reply_that_announces_too_much_is_refused_with_the_cure(faults: HttpFaults) -> None:
    failure = await send(faults, RestCall("users", "GET", "/huge-announced"))
    assert failure.error is InvalidReplyError
    assert "99999999999 bytes; reply.max_bytes is 1000000, raise it" in failure.message


def test_a_service_without_rest_is_refused() -> None:
    with pytest.raises(ValueError, match=r"users has no `rest\.url`"):
        RestTransport(Service(name="users", policy=Policy()))


@pytest.mark.parametrize("url", ["users:8080", "ftp://users", "/users", "http://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        RestTransport(Service(name="users", policy=Policy(), rest=RestEndpoint(url=url)))


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="set `auth` of the service") as caught:
        RestTransport(Service(name="users", policy=Policy(), rest=RestEndpoint(url="http://u:secret@users")))
    assert "secret" not in str(caught.value)


async def test_a_call_of_another_protocol_is_a_defect(faults: HttpFaults) -> None:
    service = Service(name="users", policy=Policy(), rest=RestEndpoint(url=faults.url))
    with pytest.raises(TypeError, match="RestCall"):
        await RestTransport(service).send(attempt_of(GraphQLCall("users", "query { a }")))


def test_an_endpoint_shows_its_pool() -> None:
    transport = RestTransport(Service(name="users", policy=Policy(), rest=RestEndpoint(url="http://users")))
    assert repr(transport) == "<HttpPool users/rest 0 busy, 0 idle, 0 waiting>"


async def test_a_header_that_cannot_be_written_is_the_gateways_own_defect(faults: HttpFaults) -> None:
    call = RestCall("users", "GET", "/ok")
    attempt = dataclasses.replace(attempt_of(call), headers={"x-interceptor": "a\r\nb: c"})
    transport = RestTransport(Service(name="users", policy=Policy(), rest=RestEndpoint(url=faults.url)))
    try:
        failure = await transport.send(attempt)
    finally:
        await transport.close()
    assert not isinstance(failure, Answer)
    assert (failure.error, failure.delivery) == (GatewayFaultError, Delivery.NOT_SENT)
    assert faults.arrivals == []
