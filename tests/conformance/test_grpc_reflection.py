"""Methods from server reflection, and from a descriptor set, on the wire."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.call import GrpcCall
from gateway.errors import (
    Delivery,
    InvalidCallError,
    InvalidReplyError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.policy import Policy, ReplyBounds, Timeouts
from tests.conformance.contract import eventually
from tests.conformance.grpc_calls import ROOT, UNARY, answered, failed, make_attempt, make_service
from tests.conformance.stillness import Stillness
from tests.servers.grpc_faults import FaultyUsers, compile_protos
from workers.transports.rpc import GrpcTransport

#: A service whose messages are in another file, which imports a third: three questions on one stream.
SHOP = {
    "shop.proto": """syntax = "proto3"; package shop.v1; import "item.proto";
        service Shop { rpc Items(ItemsRequest) returns (ItemsReply); rpc Upload(stream Item) returns (ItemsReply); }
        message ItemsRequest { repeated Item items = 1; }
        message ItemsReply { repeated Item items = 1; }""",
    "item.proto": """syntax = "proto3"; package shop.v1;
        import "google/protobuf/timestamp.proto"; import "google/protobuf/any.proto";
        message Item { string name = 1; google.protobuf.Timestamp made = 2; google.protobuf.Any extra = 3; }""",
}
ITEMS = "shop.v1.Shop/Items"


@pytest_asyncio.fixture
async def users(tmp_path: Path) -> AsyncIterator[FaultyUsers]:
    async with FaultyUsers(tmp_path, more=SHOP) as server:
        # One item, made at 1970-01-01T00:00:01Z.
        server.raw["/" + ITEMS] = b"\x0a\x09\x0a\x03pen\x12\x02\x08\x01"
        yield server


@pytest_asyncio.fixture
async def transport(users: FaultyUsers) -> AsyncIterator[GrpcTransport]:
    made = GrpcTransport(make_service(users.port, reflection=True), ROOT)
    yield made
    await made.close()


async def test_types_of_imported_files_are_resolved_on_one_stream(users: FaultyUsers, transport: GrpcTransport) -> None:
    headers = {"x-service-auth": "key", "idempotency-key": "k"}
    answer = answered(await transport.send(make_attempt({}, method=ITEMS, headers=headers)))
    assert answer.data == {"items": [{"name": "pen", "made": "1970-01-01T00:00:01Z"}]}
    assert users.reflections == ["v1"]
    assert dict(users.metadata)["x-service-auth"] == "key"
    assert "idempotency-key" not in dict(users.metadata)


async def test_the_older_version_is_asked_where_the_newer_is_missing(
    users: FaultyUsers, transport: GrpcTransport
) -> None:
    users.versions = ["v1alpha"]
    answered(await transport.send(make_attempt("7")))
    assert users.reflections == ["v1alpha"]


async def test_calls_at_once_share_one_question_and_it_is_remembered(
    users: FaultyUsers, transport: GrpcTransport
) -> None:
    for result in await asyncio.gather(*(transport.send(make_attempt("7")) for _ in range(20))):
        answered(result)
    answered(await transport.send(make_attempt("7")))
    assert users.reflections == ["v1"]


async def test_who_is_cancelled_takes_the_answer_from_nobody(users: FaultyUsers, transport: GrpcTransport) -> None:
    users.describing.clear()
    first, second = (asyncio.ensure_future(transport.send(make_attempt("7"))) for _ in range(2))
    await eventually(lambda: users.reflections == ["v1"])
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    users.describing.set()
    answered(await second)
    assert users.reflections == ["v1"]


async def test_a_failure_is_not_sent_and_not_remembered(users: FaultyUsers, transport: GrpcTransport) -> None:
    users.refuse_reflection = 1
    attempt = make_attempt("7")
    failure = failed(await transport.send(attempt), ServiceUnavailableError, Delivery.NOT_SENT)
    assert "no reflection now" in failure.message
    assert attempt.wire.sent is None
    assert users.arrived == []
    answered(await transport.send(make_attempt("7")))


async def test_an_answer_that_does_not_come(users: FaultyUsers) -> None:
    users.describing.clear()
    policy = Policy(timeouts=Timeouts(attempt=0.2))
    transport = GrpcTransport(make_service(users.port, policy=policy, reflection=True), ROOT)
    failure = failed(await transport.send(make_attempt("7")), ServiceTimeoutError, Delivery.NOT_SENT)
    assert failure.extra == {"phase": "attempt"}
    users.describing.set()
    answered(await transport.send(make_attempt("7")))
    await transport.close()


async def test_closing_gives_up_the_question(users: FaultyUsers, transport: GrpcTransport) -> None:
    users.describing.clear()
    running = asyncio.ensure_future(transport.send(make_attempt("7")))
    await eventually(lambda: users.reflections == ["v1"])
    await transport.close()
    failed(await running, ServiceUnavailableError, Delivery.NOT_SENT)
    users.describing.set()


async def test_nobody_there(users: FaultyUsers, transport: GrpcTransport) -> None:
    await users.stop()
    failed(await transport.send(make_attempt("7")), ServiceUnavailableError, Delivery.NOT_SENT)


async def test_a_service_without_reflection_names_the_cure(users: FaultyUsers, transport: GrpcTransport) -> None:
    users.versions = []
    failure = failed(await transport.send(make_attempt("7")), ServiceRejectedError, Delivery.NOT_SENT)
    assert "grpc.protos" in failure.message


@pytest.mark.parametrize(
    ("method", "cure"),
    [
        ("goodgo.user.v1.UserServices/GetUser", "did you mean goodgo.user.v1.UserService?"),
        ("goodgo.user.v1.UserService/GetUsers", f"did you mean {UNARY}?"),
        ("shop.v1.Shop/Upload", "call a unary or server-streaming method"),
    ],
)
async def test_what_is_not_there_is_named(transport: GrpcTransport, method: str, cure: str) -> None:
    failure = failed(await transport.send(make_attempt({}, method=method)), InvalidCallError, Delivery.NOT_SENT)
    assert failure.extra == {"field": "method", "cure": cure}


async def test_what_the_description_says_about_repeating(transport: GrpcTransport) -> None:
    assert await transport.idempotent(GrpcCall("user-service", UNARY, {}), {}) is True
    assert await transport.idempotent(GrpcCall("user-service", ITEMS, {}), {}) is None
    assert await transport.idempotent(GrpcCall("user-service", "no.Such/Method", {}), {}) is None


async def test_a_small_bound_of_replies_does_not_bind_reflection(users: FaultyUsers) -> None:
    policy = Policy(reply=ReplyBounds(max_bytes=100))
    transport = GrpcTransport(make_service(users.port, policy=policy, reflection=True), ROOT)
    answered(await transport.send(make_attempt("7", max_bytes=100)))
    await transport.close()


async def test_a_descriptor_set(users: FaultyUsers, tmp_path: Path) -> None:
    compile_protos(tmp_path, SHOP)
    transport = GrpcTransport(make_service(users.port, descriptor_set="protos.binpb"), tmp_path)
    answered(await transport.send(make_attempt({}, method=ITEMS)))
    assert users.reflections == []
    await transport.close()


async def test_a_type_that_nobody_described(users: FaultyUsers, transport: GrpcTransport) -> None:
    url = b"type.example.com/some.Unknown"
    extra = b"\x0a" + bytes((len(url),)) + url
    item = b"\x1a" + bytes((len(extra),)) + extra
    users.raw["/" + ITEMS] = b"\x0a" + bytes((len(item),)) + item
    failure = failed(await transport.send(make_attempt({}, method=ITEMS)), InvalidReplyError, Delivery.ANSWERED)
    assert "some.Unknown" in failure.message


async def test_what_a_method_says_of_repeating_it(users: FaultyUsers, transport: GrpcTransport) -> None:
    headers = {"x-service-auth": "key"}
    assert await transport.idempotent(GrpcCall("user-service", UNARY, {}), headers) is True
    assert ("x-service-auth", "key") in users.metadata, "a service that has to be asked sees who asks"
    for says_nothing in (
        GrpcCall("user-service", ITEMS, {}),
        GrpcCall("user-service", "shop.v1.Shop/Sell", {}),
        GrpcCall("user-service", "no.such.Service/Get", {}),
    ):
        assert await transport.idempotent(says_nothing, headers) is None
    assert await transport.idempotent(GrpcCall("user-service", UNARY, {}), {"x-raw-bin": "no base64!"}) is None
    await users.stop()
    elsewhere = GrpcTransport(make_service(users.port, reflection=True), ROOT)
    assert await elsewhere.idempotent(GrpcCall("user-service", UNARY, {}), headers) is None
    await elsewhere.close()


async def test_a_large_reply_does_not_stop_the_loop(users: FaultyUsers, transport: GrpcTransport) -> None:
    users.raw["/" + ITEMS] = b"\x0a\x05\x0a\x03pen" * 60_000
    async with Stillness() as stillness:
        answer = answered(await transport.send(make_attempt({}, method=ITEMS, budget=10.0)))
    assert len(answer.data["items"]) == 60_000
    assert stillness.longest_s < stillness.took_s / 2


async def test_a_large_request_does_not_stop_the_loop(users: FaultyUsers, transport: GrpcTransport) -> None:
    request = {"items": [{"name": "pen"}] * 60_000}
    answered(await transport.send(make_attempt({}, method=ITEMS)))
    attempt = make_attempt(request, method=ITEMS, budget=10.0)
    async with Stillness() as stillness:
        answered(await transport.send(attempt))
    assert stillness.longest_s < stillness.took_s / 2


async def test_cancelling_while_a_large_reply_is_read(users: FaultyUsers, transport: GrpcTransport) -> None:
    small = users.raw["/" + ITEMS]
    for _ in range(3):
        users.raw["/" + ITEMS] = b"\x0a\x05\x0a\x03pen" * 60_000
        attempt = make_attempt({}, method=ITEMS, budget=10.0)
        call = asyncio.create_task(transport.send(attempt))
        await eventually(partial(getattr, attempt.wire, "first_byte"))
        assert not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert " 0 busy" in repr(transport)
        users.raw["/" + ITEMS] = small
        answered(await transport.send(make_attempt({}, method=ITEMS)))
