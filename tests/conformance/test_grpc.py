"""The gRPC transport against real servers: what it asks, what it replies, and what each status becomes."""

import resource
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from gateway.errors import (
    Delivery,
    InvalidCallError,
    InvalidReplyError,
    RateLimitedError,
    ServiceAuthError,
    ServiceFaultError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.policy import Policy, ReplyBounds
from tests.conformance.contract import eventually
from tests.conformance.grpc_calls import (
    ROOT,
    STREAM,
    answered,
    failed,
    make_attempt,
    make_service,
)
from tests.servers.grpc_faults import FaultyUsers
from workers.transports.base import Attempt
from workers.transports.rpc import GrpcTransport


@pytest_asyncio.fixture
async def users(tmp_path: Path) -> AsyncIterator[FaultyUsers]:
    async with FaultyUsers(tmp_path) as server:
        yield server


@pytest_asyncio.fixture
async def transport(users: FaultyUsers) -> AsyncIterator[GrpcTransport]:
    made = GrpcTransport(make_service(users.port), ROOT)
    yield made
    await made.close()


class TestReplies:
    async def test_unary_reply_is_json_with_every_field(self, transport: GrpcTransport) -> None:
        attempt = make_attempt("7")
        answer = answered(await transport.send(attempt))
        assert answer.status == "OK"
        assert answer.data == {"user": {"id": "7", "name": "Ada", "email": "ada@example.com"}}
        assert answered(await transport.send(make_attempt(""))).data["user"]["id"] == ""
        wire = attempt.wire
        marks = [wire.connect_started, wire.connected, wire.sent, wire.first_byte]
        assert None not in marks
        assert marks == sorted(marks, key=float)  # type: ignore[arg-type]

    async def test_reply_headers_are_initial_and_trailing_metadata(self, transport: GrpcTransport) -> None:
        headers = answered(await transport.send(make_attempt("7"))).headers
        assert headers == {"x-initial": "1", "x-some-bin": "AP8=", "x-trailing": "2"}

    async def test_stream_reply_is_the_list_of_messages_with_int64_as_text(self, transport: GrpcTransport) -> None:
        answer = answered(await transport.send(make_attempt({"user_id": "7", "count": 3}, method=STREAM)))
        assert [update["sequence"] for update in answer.data] == ["1", "2", "3"]

    async def test_a_second_call_connects_no_more(self, transport: GrpcTransport) -> None:
        await transport.send(make_attempt("1"))
        attempt = make_attempt("2")
        answered(await transport.send(attempt))
        assert attempt.wire.connect_started is None
        assert attempt.wire.sent is not None


class TestRequest:
    async def test_metadata_of_the_gateway_wins(self, users: FaultyUsers, transport: GrpcTransport) -> None:
        own = {"x-mine": "call", "x-both": "call", "x-raw-bin": "AP8"}
        headers = {"x-both": "gateway", "x-service-auth": "key"}
        answered(await transport.send(make_attempt("7", metadata=own, headers=headers)))
        seen = dict(users.metadata)
        assert seen["x-mine"] == "call"
        assert seen["x-both"] == "gateway"
        assert seen["x-service-auth"] == "key"
        assert seen["x-raw-bin"] == b"\x00\xff"
        assert str(seen["user-agent"]).startswith("call-gateway ")

    async def test_the_budget_travels_as_grpc_timeout(self, users: FaultyUsers, transport: GrpcTransport) -> None:
        answered(await transport.send(make_attempt("7", budget=1.5)))
        assert users.remaining is not None
        assert 1.0 < users.remaining <= 1.5

    @pytest.mark.parametrize(
        ("attempt", "field"),
        [
            (make_attempt({"user": "7"}), "request.user"),
            (make_attempt({"user_id": 7}), "request.user_id"),
            (make_attempt({"user_id": "7", "count": "many"}, method=STREAM), "request.count"),
            (make_attempt("7", method="goodgo.user.v1.UserService/GetUsers"), "method"),
            (make_attempt("7", method="goodgo.user.v2.UserService/GetUser"), "method"),
            (make_attempt("7", headers={"x-raw-bin": "no base64!"}), "metadata.x-raw-bin"),
            (make_attempt("7", headers={"x-text": "\u00e9"}), "metadata.x-text"),
            (make_attempt("7", headers={"X-Upper": "1"}), "metadata.X-Upper"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    async def test_a_wrong_call_is_named_and_never_sent(
        self, users: FaultyUsers, transport: GrpcTransport, attempt: Attempt, field: str
    ) -> None:
        failure = failed(await transport.send(attempt), InvalidCallError, Delivery.NOT_SENT)
        assert failure.extra["field"] == field
        assert failure.extra["cure"]
        assert attempt.wire.sent is None
        assert users.arrived == []


STATUSES = {
    "CANCELLED": ServiceFaultError,
    "UNKNOWN": ServiceFaultError,
    "INVALID_ARGUMENT": ServiceRejectedError,
    "DEADLINE_EXCEEDED": ServiceTimeoutError,
    "NOT_FOUND": ServiceRejectedError,
    "ALREADY_EXISTS": ServiceRejectedError,
    "PERMISSION_DENIED": ServiceAuthError,
    "RESOURCE_EXHAUSTED": RateLimitedError,
    "FAILED_PRECONDITION": ServiceRejectedError,
    "ABORTED": ServiceRejectedError,
    "OUT_OF_RANGE": ServiceRejectedError,
    "UNIMPLEMENTED": ServiceRejectedError,
    "INTERNAL": ServiceFaultError,
    "UNAVAILABLE": ServiceUnavailableError,
    "DATA_LOSS": ServiceFaultError,
    "UNAUTHENTICATED": ServiceAuthError,
}


class TestStatuses:
    @pytest.mark.parametrize("status", STATUSES)
    async def test_a_status_that_the_service_sent(
        self, users: FaultyUsers, transport: GrpcTransport, status: str
    ) -> None:
        failure = failed(await transport.send(make_attempt(f"status:{status}")), STATUSES[status], Delivery.ANSWERED)
        assert failure.status == status
        assert failure.details == {"message": "the server says so", "details": []}
        assert failure.message == f"{status}: the server says so"
        assert len(users.arrived) == 1, "exactly one layer retries, and it is not this one"

    async def test_error_details_are_plain_json(self, transport: GrpcTransport) -> None:
        failure = failed(await transport.send(make_attempt("details")), ServiceRejectedError, Delivery.ANSWERED)
        bad_request, unknown = failure.details["details"]
        assert bad_request["@type"] == "type.googleapis.com/google.rpc.BadRequest"
        assert bad_request["field_violations"][0]["field"] == "user_id"
        assert unknown == {"@type": "type.example.com/some.Unknown", "value": "AQI="}

    @pytest.mark.parametrize(("wanted", "seconds"), [("slow-down", 1.5), ("push-back", 2.5)])
    async def test_when_to_ask_again(self, transport: GrpcTransport, wanted: str, seconds: float) -> None:
        failure = failed(await transport.send(make_attempt(wanted)), RateLimitedError, Delivery.ANSWERED)
        assert failure.retry_after_s == pytest.approx(seconds)

    async def test_a_status_in_the_middle_of_a_stream(self, transport: GrpcTransport) -> None:
        attempt = make_attempt({"user_id": "fail-late", "count": 5}, method=STREAM)
        failed(await transport.send(attempt), ServiceRejectedError, Delivery.ANSWERED)


class TestBounds:
    @pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
    async def test_a_huge_message_is_refused_and_not_kept(
        self, tmp_path: Path, compression: grpc.Compression | None
    ) -> None:
        policy = Policy(reply=ReplyBounds(max_bytes=1024 * 1024))
        async with FaultyUsers(tmp_path, compression=compression) as users:
            transport = GrpcTransport(make_service(users.port, policy=policy), ROOT)
            failed(await transport.send(make_attempt("huge")), InvalidReplyError, Delivery.ANSWERED)
            answered(await transport.send(make_attempt("7")))
            await transport.close()

    async def test_the_attempts_own_bound_holds(self, transport: GrpcTransport) -> None:
        answered(await transport.send(make_attempt("big")))
        result = await transport.send(make_attempt("big", max_bytes=1000))
        assert "1000 bytes" in failed(result, InvalidReplyError, Delivery.ANSWERED).message

    @pytest.mark.parametrize(("bounds", "word"), [({"max_messages": 10}, "messages"), ({"max_bytes": 500}, "bytes")])
    async def test_an_endless_stream_is_ended(
        self, users: FaultyUsers, transport: GrpcTransport, bounds: dict[str, int], word: str
    ) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = await transport.send(make_attempt({"user_id": "endless"}, method=STREAM, **bounds))  # type: ignore[arg-type]
        assert word in failed(result, InvalidReplyError, Delivery.ANSWERED).message
        await eventually(lambda: users.cancelled == ["endless"], within=1.5)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
        answered(await transport.send(make_attempt("7")))

    async def test_a_stream_of_exactly_the_bound_is_a_reply(self, transport: GrpcTransport) -> None:
        attempt = make_attempt({"user_id": "7", "count": 10}, method=STREAM, max_messages=10)
        assert len(answered(await transport.send(attempt)).data) == 10

    async def test_metadata_over_the_librarys_limit(self, transport: GrpcTransport) -> None:
        failed(await transport.send(make_attempt("much-metadata")), InvalidReplyError, Delivery.ANSWERED)

    @pytest.mark.parametrize("wanted", ["unparseable", "not-utf-8"])
    async def test_a_reply_that_is_not_the_message(self, transport: GrpcTransport, wanted: str) -> None:
        failure = failed(await transport.send(make_attempt(wanted)), InvalidReplyError, Delivery.ANSWERED)
        assert "GetUserResponse" in failure.message
