"""The demo user service: the same users over REST, GraphQL and gRPC, and every misbehaviour that a test can ask for."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from tests.servers.user_service import UserService

BEHAVIOUR = "x-demo-behaviour"
ADA = {"id": "123", "name": "Ada Lovelace", "email": "ada@example.com"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserService]:
    with UserService(tmp_path_factory.mktemp("user-service"), key="old-key,new-key") as running:
        yield running


@pytest.fixture
async def http(service: UserService) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-service-auth": "new-key"}
    async with httpx.AsyncClient(base_url=service.rest_url, headers=headers, timeout=10) as client:
        yield client


class Users:
    """A client of the gRPC service, whose messages it asks the service for."""

    METADATA = (("x-service-auth", "old-key"),)

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._pool = descriptor_pool.DescriptorPool()

    async def learn(self) -> "Users":
        stub = reflection_pb2_grpc.ServerReflectionStub(self._channel)
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="goodgo.user.v1.UserService")
        async for reply in stub.ServerReflectionInfo(iter([request]), timeout=10):
            for file in reply.file_descriptor_response.file_descriptor_proto:
                assert FileDescriptorProto.FromString(file).name == "goodgo/user/v1/user.proto"
                self._pool.AddSerializedFile(file)
        return self

    def message(self, name: str) -> Any:
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"goodgo.user.v1.{name}"))

    async def get(self, user_id: str, metadata: Any = METADATA, timeout: float = 10) -> Any:
        call = self._channel.unary_unary(
            "/goodgo.user.v1.UserService/GetUser",
            request_serializer=self.message("GetUserRequest").SerializeToString,
            response_deserializer=self.message("GetUserResponse").FromString,
        )
        return (await call(self.message("GetUserRequest")(user_id=user_id), metadata=metadata, timeout=timeout)).user

    def stream(self, user_id: str, count: int, metadata: Any = METADATA, timeout: float = 10) -> Any:
        call = self._channel.unary_stream(
            "/goodgo.user.v1.UserService/StreamUserUpdates",
            request_serializer=self.message("StreamRequest").SerializeToString,
            response_deserializer=self.message("UserUpdate").FromString,
        )
        return call(self.message("StreamRequest")(user_id=user_id, count=count), metadata=metadata, timeout=timeout)


@pytest.fixture
async def users(service: UserService) -> AsyncIterator[Users]:
    async with grpc.aio.insecure_channel(service.grpc_target) as channel:
        yield await Users(channel).learn()


def misbehave(how: str, **more: str) -> tuple[tuple[str, str], ...]:
    return (*Users.METADATA, (BEHAVIOUR, how), *((name.replace("_", "-"), value) for name, value in more.items()))


async def refused(call: Any) -> tuple[grpc.StatusCode, list[Any]]:
    """Status and rich details of a gRPC call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    details: list[Any] = []
    status = rpc_status.from_call(caught.value)
    for packed in status.details if status is not None else ():
        kind = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])
        details.append(kind.FromString(packed.value))
    return caught.value.code(), details


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.02)


# --- the same users over three protocols


async def test_one_user_over_three_protocols(http: httpx.AsyncClient, users: Users) -> None:
    assert (await http.get("/users/123")).json() == ADA
    query = {"query": "query GetUser($id: ID!) { user(id: $id) { id email name } }", "variables": {"id": "123"}}
    assert (await http.post("/graphql", json=query)).json() == {"data": {"user": ADA}}
    user = await users.get("123")
    assert {"id": user.id, "name": user.name, "email": user.email} == ADA


async def test_a_user_lives_over_rest(http: httpx.AsyncClient) -> None:
    made = await http.post("/users", json={"name": "Edsger Dijkstra", "email": "edsger@example.com"})
    assert made.status_code == 201
    where = made.headers["location"]
    assert made.json() in (await http.get("/users")).json()["users"]
    assert (await http.patch(where, json={"name": "E. W. Dijkstra"})).json()["name"] == "E. W. Dijkstra"
    replaced = await http.put(where, json={"name": "Edsger", "email": "e@example.com"})
    assert replaced.json() == {"id": made.json()["id"], "name": "Edsger", "email": "e@example.com"}
    assert (await http.delete(where)).status_code == 204
    assert (await http.get(where)).status_code == 404
    assert (await http.delete(where)).status_code == 404


async def test_a_change_over_graphql_is_seen_over_the_others(http: httpx.AsyncClient, users: Users) -> None:
    create = 'mutation { createUser(name: "Barbara", email: "barbara@example.com") { id } }'
    made = (await http.post("/graphql", json={"query": create})).json()["data"]["createUser"]["id"]
    rename = {
        "query": 'mutation R($id: ID!) { renameUser(id: $id, name: "Barbara Liskov") { name } }',
        "variables": {"id": made},
    }
    answer = (await http.post("/graphql", json=rename)).json()
    assert answer == {"data": {"renameUser": {"name": "Barbara Liskov"}}}
    assert (await http.get(f"/users/{made}")).json()["name"] == "Barbara Liskov"
    assert (await users.get(made)).name == "Barbara Liskov"


async def test_a_stream_counts_its_updates(users: Users) -> None:
    updates = [update async for update in users.stream("124", 3)]
    assert [update.sequence for update in updates] == [1, 2, 3]
    assert {update.user.name for update in updates} == {"Grace Hopper"}


async def test_a_stream_without_a_count_goes_on_until_the_caller_ends_it(http: httpx.AsyncClient, users: Users) -> None:
    metadata = (*Users.METADATA, ("x-correlation-id", "endless"))
    stream = users.stream("124", 0, metadata)
    seen = [(await anext(aiter(stream))).sequence for _ in range(5)]
    assert seen == [1, 2, 3, 4, 5]
    stream.cancel()

    async def ended() -> bool:
        return bool((await http.get("/stats")).json()["in_flight"] == 0)

    await until(ended)


async def test_an_idempotency_key_makes_one_user(http: httpx.AsyncClient) -> None:
    body = {"name": "Once", "email": "once@example.com"}
    headers = {"idempotency-key": "make-once"}
    first = await http.post("/users", json=body, headers=headers)
    second = await http.post("/users", json=body, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert [user["name"] for user in (await http.get("/users")).json()["users"]].count("Once") == 1
    other = await http.post("/users", json={**body, "name": "Twice"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


# --- errors


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("GET", "/users/9", None, 404, "NOT_FOUND"),
        ("PATCH", "/users/9", b"{}", 404, "NOT_FOUND"),
        ("GET", "/nowhere", None, 404, "NOT_FOUND"),
        ("DELETE", "/users", None, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/users", b"{", 400, "INVALID_ARGUMENT"),
        ("POST", "/users", b"[]", 400, "INVALID_ARGUMENT"),
        ("POST", "/users", b'{"name": "x"}', 400, "INVALID_ARGUMENT"),
        ("POST", "/users", b'{"name": "x", "email": "nobody"}', 400, "INVALID_ARGUMENT"),
        ("POST", "/users", b'{"name": 1, "email": "a@b"}', 400, "INVALID_ARGUMENT"),
        ("PATCH", "/users/123", b'{"id": "1"}', 400, "INVALID_ARGUMENT"),
    ],
)
async def test_rest_errors(
    http: httpx.AsyncClient, method: str, path: str, content: bytes | None, status: int, code: str
) -> None:
    answer = await http.request(method, path, content=content)
    assert (answer.status_code, answer.json()["success"], answer.json()["error"]["code"]) == (status, False, code)


async def test_grpc_errors_have_rich_details(users: Users) -> None:
    code, details = await refused(users.get("9"))
    assert code is grpc.StatusCode.NOT_FOUND
    assert [(d.resource_type, d.resource_name) for d in details] == [("goodgo.user.v1.User", "9")]
    code, details = await refused(users.get(""))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert [v.field for v in details[0].field_violations] == ["user_id"]
    code, details = await refused(anext(aiter(users.stream("123", -1))))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert [v.field for v in details[0].field_violations] == ["count"]


async def test_graphql_errors_come_beside_the_partial_data(http: httpx.AsyncClient) -> None:
    query = '{ ada: user(id: "123") { name manager { name } } nobody: user(id: "9") { name } }'
    answer = await http.post("/graphql", json={"query": query})
    assert answer.status_code == 200
    assert answer.json()["data"] == {"ada": {"name": "Ada Lovelace", "manager": None}, "nobody": None}
    errors = answer.json()["errors"]
    assert [(error["path"], error["extensions"]["code"]) for error in errors] == [
        (["ada", "manager"], "NOT_FOUND"),
        (["nobody"], "NOT_FOUND"),
    ]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"query": "{ nope }"}', b'{"query": "{"}', b'{"query": 1}'])
async def test_graphql_that_cannot_be_executed_is_400(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post("/graphql", content=body, headers={"accept": "application/graphql-response+json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/graphql-response+json"
    assert answer.json()["errors"]


async def test_nothing_but_health_and_reflection_is_open(service: UserService) -> None:
    async with httpx.AsyncClient(base_url=service.rest_url) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        for method, path in (("GET", "/users"), ("GET", "/stats"), ("POST", "/graphql"), ("GET", "/nowhere")):
            assert (await client.request(method, path)).status_code == 403
    async with grpc.aio.insecure_channel(service.grpc_target) as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        users = await Users(channel).learn()
        assert (await refused(users.get("123", metadata=())))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert (await users.get("123", metadata=(("x-service-auth", "new-key"),))).id == "123"
    assert "new-key" not in service.process.output()


# --- misbehaviour


@pytest.mark.parametrize("path", ["/users/123", "/graphql"])
@pytest.mark.parametrize(
    ("how", "status", "retry_after"),
    [
        ("fail", 500, None),
        ("unavailable", 503, "1"),
        ("unavailable=7", 503, "7"),
        ("rate-limit", 429, "1"),
        ("rate-limit=0", 429, "0"),
        ("sulk", 400, None),
        ("slow=soon", 400, None),
    ],
)
async def test_http_fails_as_it_is_asked(
    http: httpx.AsyncClient, path: str, how: str, status: int, retry_after: str | None
) -> None:
    method = "POST" if path == "/graphql" else "GET"
    body = {"query": "{ users { id } }"} if path == "/graphql" else None
    answer = await http.request(method, path, json=body, headers={BEHAVIOUR: how})
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after)
    assert answer.json()["success"] is False


async def test_rest_can_be_asked_in_the_query(http: httpx.AsyncClient) -> None:
    assert (await http.get("/users/123", params={"behaviour": "rate-limit=2"})).headers["retry-after"] == "2"


@pytest.mark.parametrize(
    ("how", "code", "retry_s"),
    [
        ("fail", grpc.StatusCode.INTERNAL, None),
        ("unavailable=7", grpc.StatusCode.UNAVAILABLE, 7),
        ("rate-limit", grpc.StatusCode.RESOURCE_EXHAUSTED, 1),
    ],
)
async def test_grpc_fails_as_it_is_asked(users: Users, how: str, code: grpc.StatusCode, retry_s: int | None) -> None:
    for call in (users.get("123", misbehave(how)), anext(aiter(users.stream("123", 2, misbehave(how))))):
        got, details = await refused(call)
        assert got is code
        assert [detail.retry_delay.seconds for detail in details] == ([] if retry_s is None else [retry_s])
    assert (await refused(users.get("123", misbehave("sulk"))))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_slow_waits_that_long_and_then_serves(http: httpx.AsyncClient, users: Users) -> None:
    began = time.monotonic()
    assert (await http.get("/users/123", headers={BEHAVIOUR: "slow=200"})).json() == ADA
    assert time.monotonic() - began >= 0.2
    began = time.monotonic()
    assert (await users.get("123", misbehave("slow=200"))).id == "123"
    assert time.monotonic() - began >= 0.2


async def test_hang_never_answers_and_ends_when_the_caller_goes(http: httpx.AsyncClient, users: Users) -> None:
    for path, method in (("/users/123", "GET"), ("/graphql", "POST")):
        with pytest.raises(httpx.ReadTimeout):
            await http.request(method, path, headers={BEHAVIOUR: "hang"}, timeout=0.3)
    code, _ = await refused(users.get("123", misbehave("hang"), timeout=0.3))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED

    async def nothing_left() -> bool:
        return bool((await http.get("/stats")).json()["in_flight"] == 0)

    await until(nothing_left)


async def test_times_counts_for_each_correlation_id(http: httpx.AsyncClient, users: Users) -> None:
    async def statuses(correlation_id: str) -> list[int]:
        headers = {BEHAVIOUR: "unavailable=0;times=2", "x-correlation-id": correlation_id}
        return [(await http.get("/users/123", headers=headers)).status_code for _ in range(3)]

    assert await statuses("order-1") == [503, 503, 200]
    assert await statuses("order-2") == [503, 503, 200]
    metadata = misbehave("fail;times=1", x_correlation_id="order-1")
    assert (await refused(users.get("123", metadata)))[0] is grpc.StatusCode.INTERNAL
    assert (await users.get("123", metadata)).id == "123"


async def test_two_hundred_slow_requests_are_served_at_once(service: UserService) -> None:
    headers = {"x-service-auth": "new-key", BEHAVIOUR: "slow=1500"}
    limits = httpx.Limits(max_connections=210)
    async with (
        httpx.AsyncClient(base_url=service.rest_url, headers=headers, limits=limits, timeout=30) as client,
        grpc.aio.insecure_channel(service.grpc_target) as channel,
    ):
        users = await Users(channel).learn()
        rest = asyncio.gather(*(client.get("/users/123") for _ in range(200)))
        rpc = asyncio.gather(*(users.get("123", misbehave("slow=1500"), timeout=30) for _ in range(200)))
        assert {answer.status_code for answer in await rest} == {200}
        assert {user.id for user in await rpc} == {"123"}
        stats = (await client.get("/stats")).json()
    assert stats["most_in_flight"] >= 200


# --- what arrived


async def test_echo_says_what_arrived_but_not_the_key(http: httpx.AsyncClient) -> None:
    headers = {"x-correlation-id": "order-42", "x-request-id": "r-1", "traceparent": "00-a-b-01"}
    answer = await http.put("/echo?a=1&a=2", json={"b": [1]}, headers=headers)
    said = answer.json()
    assert (said["method"], said["query"], said["body"]) == ("PUT", {"a": ["1", "2"]}, {"b": [1]})
    assert headers.items() <= said["headers"].items()
    assert "new-key" not in answer.text
    assert (await http.post("/echo", content=b"\xff text")).json()["body"] == "\ufffd text"


async def test_stats_count_requests_and_keep_the_headers_of_the_last(http: httpx.AsyncClient, users: Users) -> None:
    sent = {"x-correlation-id": "stats-1", "x-request-id": "r-7", "traceparent": "00-a-b-01", "idempotency-key": "k"}
    before = (await http.get("/stats")).json()["requests"]
    await http.get("/users/124", headers=sent)
    await http.post("/graphql", json={"query": "query Named { users { id } }"}, headers=sent)
    await users.get("124", (*Users.METADATA, *sent.items()), timeout=5)
    after = (await http.get("/stats")).json()
    grpc_name = "goodgo.user.v1.UserService/GetUser"
    for operation in ("GET /users/{user_id}", "query Named", grpc_name):
        assert after["requests"][operation] == before.get(operation, 0) + 1
        assert sent.items() <= after["last"][operation].items()
    # grpc rounds `grpc-timeout` up to fewer digits, by up to a hundredth.
    assert 4 < after["last"][grpc_name]["timeout_s"] <= 5.05
    arrivals = (await http.get("/stats", params={"correlation_id": "stats-1"})).json()["arrivals"]
    assert [arrival["operation"] for arrival in arrivals] == ["GET /users/{user_id}", "query Named", grpc_name]
    assert "-key" not in str(after | {"requests": {}}).replace("idempotency-key", "")


# --- the process


def test_it_does_not_start_without_a_key(service: UserService) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "INTERNAL_API_KEY"}
    ran = subprocess.run(
        [sys.executable, "-m", "examples.user_service"], env=environment, capture_output=True, text=True, timeout=30
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "INTERNAL_API_KEY is not set in the environment; set it to the key of this service\n"


@pytest.mark.parametrize("option", ["--rest-port", "--grpc-port"])
def test_it_does_not_share_a_port_that_is_taken(service: UserService, option: str) -> None:
    taken = service.rest_url if option == "--rest-port" else service.grpc_target
    ports = {"--rest-port": "0", "--grpc-port": "0", option: taken.rpartition(":")[2]}
    argv = [sys.executable, "-m", "examples.user_service", *(word for pair in ports.items() for word in pair)]
    environment = {**os.environ, "INTERNAL_API_KEY": "k"}
    ran = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 1
    assert "the user service cannot start" in ran.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_requests_finish_and_ends_those_that_hang(tmp_path: Path, number: int) -> None:
    with UserService(tmp_path) as own:
        headers = {"x-service-auth": own.key}
        async with httpx.AsyncClient(base_url=own.rest_url, headers=headers, timeout=10) as client:

            async def busy() -> bool:
                return bool((await client.get("/stats")).json()["in_flight"] == 2)

            slow = asyncio.create_task(client.get("/users/123", headers={BEHAVIOUR: "slow=500"}))
            hung = asyncio.create_task(client.get("/users/123", headers={BEHAVIOUR: "hang"}))
            await until(busy)
            own.process.signal(number)
            assert (await slow).json() == ADA
            answers = await asyncio.gather(hung, return_exceptions=True)
            assert not isinstance(answers[0], httpx.Response) or answers[0].status_code >= 500
        assert await asyncio.to_thread(own.process.wait, 10) == 0


async def test_it_comes_back_on_its_ports(tmp_path: Path) -> None:
    with UserService(tmp_path, key="k") as own:
        before = (own.rest_url, own.grpc_target)
        own.process.kill()
        own.restart()
        assert (own.rest_url, own.grpc_target) == before
        async with httpx.AsyncClient(headers={"x-service-auth": "k"}) as client:
            assert (await client.get(f"{own.rest_url}/users/123")).json() == ADA
