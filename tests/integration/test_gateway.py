"""From `submit` to the typed result, through a real broker, a real worker and a real service."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from gateway import CallState, Gateway, GraphQLCall, GrpcCall, RestCall, Settings, previous
from gateway.codec import TASK
from gateway.dev.process import free_port
from gateway.dev.valkey import Valkey
from gateway.errors import (
    CallCancelledError,
    CallRejectedError,
    DeadlineExceededError,
    Delivery,
    GatewayFaultError,
    GatewayUnavailableError,
    GraphQLError,
    InvalidCallError,
    OutcomeUnknownError,
    RateLimitedError,
    ServiceAuthError,
    ServiceError,
    ServiceFaultError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    UnknownServiceError,
)
from tests.integration.stack import Stack

ADA = {"id": "123", "name": "Ada Lovelace", "email": "ada@example.com"}
GET_ADA = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"})
GRPC_ADA = GrpcCall("user-service", "goodgo.user.v1.UserService/GetUser", {"user_id": "123"})
GRPC_NOBODY = GrpcCall("user-service", GRPC_ADA.method, {"user_id": "999"})
TWO_USERS = '{ a: user(id: "123") { id } b: user(id: "999") { id } }'


def behaving(how: str, **fields: Any) -> RestCall:
    return RestCall(
        "user-service", "GET", "/users/{user_id}", path={"user_id": "123"}, headers={"x-demo-behaviour": how}, **fields
    )


@pytest.fixture
def gateway(stack: Stack) -> Gateway:
    return stack.gateway


def eventually(condition: Callable[[], object], *, timeout: float = 10.0) -> None:
    ends = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.01)


def test_a_rest_call_gets_its_typed_reply(gateway: Gateway) -> None:
    pending = gateway.submit(GET_ADA, correlation_id="order-42", request_id="r-1")
    reply = pending.result(timeout=15)
    assert reply.data == ADA
    assert (reply.status, reply.attempts, reply.correlation_id, reply.request_id) == (200, 1, "order-42", "r-1")
    assert (reply.service, reply.operation, reply.protocol) == ("user-service", "GET /users/{user_id}", "rest")
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.call_id == pending.id
    assert pending.state is CallState.DONE
    timing = reply.timing
    assert timing.total is not None
    assert timing.first_byte is not None
    assert timing.queued is not None
    assert 0 < timing.first_byte <= timing.total < 15


@pytest.mark.parametrize(
    ("call", "data", "status"),
    [
        (GRPC_ADA, {"user": ADA}, "OK"),
        (
            GrpcCall("user-service", "goodgo.user.v1.UserService/StreamUserUpdates", {"user_id": "123", "count": 5}),
            [{"user": ADA, "sequence": str(number)} for number in range(1, 6)],
            "OK",
        ),
        (
            GraphQLCall("user-service", "query GetUser($id: ID!) { user(id: $id) { id email name } }", {"id": "123"}),
            {"user": ADA},
            200,
        ),
    ],
    ids=["grpc unary", "grpc stream", "graphql"],
)
def test_the_other_protocols_get_theirs(gateway: Gateway, call: GrpcCall, data: object, status: object) -> None:
    reply = gateway.submit(call).result(timeout=15)
    assert (reply.data, reply.status) == (data, status)


@pytest.mark.parametrize(
    ("call", "error", "status", "delivery"),
    [
        (RestCall("user-service", "GET", "/users/999"), ServiceRejectedError, 404, Delivery.ANSWERED),
        (behaving("fail"), ServiceFaultError, 500, Delivery.ANSWERED),
        (behaving("unavailable"), ServiceUnavailableError, 503, Delivery.ANSWERED),
        (behaving("rate-limit"), RateLimitedError, 429, Delivery.ANSWERED),
        (behaving("hang", attempt_timeout=0.3), ServiceTimeoutError, None, Delivery.MAYBE_SENT),
        (RestCall("closed", "GET", "/"), ServiceUnavailableError, None, Delivery.NOT_SENT),
        (RestCall("wrong-key", "GET", "/users"), ServiceAuthError, 403, Delivery.ANSWERED),
        (GrpcCall("wrong-key", GRPC_ADA.method), ServiceAuthError, "UNAUTHENTICATED", Delivery.ANSWERED),
        (GRPC_NOBODY, ServiceRejectedError, "NOT_FOUND", Delivery.ANSWERED),
        (GrpcCall("user-service", GRPC_ADA.method, {"no_such_field": 1}), InvalidCallError, None, Delivery.NOT_SENT),
        (GraphQLCall("user-service", TWO_USERS), GraphQLError, 200, Delivery.ANSWERED),
        (RestCall("user-service", "GET", "/forbidden"), CallRejectedError, None, Delivery.NOT_SENT),
        (RestCall("user-service", "GET", "/broken-interceptor"), GatewayFaultError, None, Delivery.NOT_SENT),
    ],
    ids=lambda value: value.operation if hasattr(value, "operation") else getattr(value, "__name__", str(value)),
)  # fmt: skip
def test_every_bad_outcome_is_its_typed_error(
    gateway: Gateway, call: RestCall, error: type[ServiceError], status: object, delivery: Delivery
) -> None:
    pending = gateway.submit(call, correlation_id="order-43")
    with pytest.raises(error) as caught:
        pending.result(timeout=15)
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.delivery) == (status, delivery)
    assert (caught.value.service, caught.value.operation) == (call.service, call.operation)
    assert (caught.value.correlation_id, caught.value.call_id) == ("order-43", pending.id)
    assert caught.value.attempts == 1
    # A plain Celery result raises the same.
    with pytest.raises(error) as plainly:
        gateway.celery.AsyncResult(pending.id).get(timeout=5)
    assert plainly.value.fields == caught.value.fields


def test_a_graphql_error_keeps_the_partial_data(gateway: Gateway) -> None:

    with pytest.raises(GraphQLError) as caught:
        gateway.submit(GraphQLCall("user-service", TWO_USERS)).result(timeout=15)
    assert caught.value.data == {"a": {"id": "123"}, "b": None}
    assert caught.value.errors[0]["path"] == ["b"]


def test_retry_after_arrives(gateway: Gateway) -> None:
    with pytest.raises(RateLimitedError) as caught:
        gateway.submit(behaving("rate-limit=7")).result(timeout=15)
    assert caught.value.retry_after_s == 7.0


def test_what_goes_on_the_wire(gateway: Gateway) -> None:
    call = RestCall(
        "user-service", "POST", "/echo", query={"q": ["a b", "c"]}, headers={"x-own": "1"}, json={"a": [1, None]}
    )
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    reply = gateway.submit(
        call, correlation_id="order-44", request_id="r-44", idempotency_key="charge-44", traceparent=trace
    ).result(timeout=15)
    sent = reply.data["headers"]
    assert (sent["x-correlation-id"], sent["x-request-id"]) == ("order-44", "r-44")
    assert (sent["idempotency-key"], sent["traceparent"]) == ("charge-44", trace)
    assert (sent["x-own"], sent["x-tenant"]) == ("1", "acme")
    assert reply.headers["x-seen"] == "1"
    assert "cookie" not in sent
    assert json.dumps(reply.data).count("a b") >= 1


def test_many_slow_calls_run_at_once_in_one_worker(gateway: Gateway) -> None:
    started = time.monotonic()
    pending = gateway.submit_many([behaving("slow=200")] * 200)
    assert {call.result(timeout=30).status for call in pending} == {200}
    # One after another they would take twice that.
    assert time.monotonic() - started < 200 * 0.2 / 2
    assert len({call.id for call in pending}) == 200


async def test_awaiting_does_not_block_the_loop(gateway: Gateway) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    pending = [await gateway.asubmit(behaving("slow=200")) for _ in range(10)]
    replies = await asyncio.gather(*pending)
    assert [reply.status for reply in replies] == [200] * 10
    assert (await pending[0]).call_id == pending[0].id, "it can be awaited again"
    assert ticks >= 10
    ticking.cancel()


def test_one_handle_can_be_asked_again_and_from_many_threads(gateway: Gateway) -> None:
    pending = gateway.submit(behaving("slow=100"))
    with ThreadPoolExecutor(20) as threads:
        replies = list(threads.map(lambda _: pending.result(timeout=15), range(40)))
    assert len({reply.request_id for reply in replies}) == 1
    assert pending.result().status == 200


def test_a_result_that_does_not_come_in_time_can_be_asked_again(gateway: Gateway) -> None:
    pending = gateway.submit(behaving("slow=500"))
    with pytest.raises(TimeoutError, match=pending.id):
        pending.result(timeout=0.05)
    assert pending.result(timeout=15).status == 200


def test_another_process_asks_by_id(stack: Stack, gateway: Gateway) -> None:
    pending = gateway.submit(GET_ADA)
    script = (
        "import sys; from gateway import Gateway; print(Gateway.from_env().pending(sys.argv[1]).result().data['name'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, pending.id], env=stack.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "Ada Lovelace"


def test_nothing_is_known_of_a_wrong_id(gateway: Gateway) -> None:
    pending = gateway.pending("00000000-0000-0000-0000-000000000000")
    assert pending.state is CallState.UNKNOWN
    with pytest.raises(OutcomeUnknownError, match="nothing is known"):
        pending.result()
    with pytest.raises(TimeoutError):
        pending.result(timeout=0.05)


def test_a_running_call_is_cancelled(gateway: Gateway) -> None:
    pending, other = gateway.submit_many([behaving("hang", attempt_timeout=9.0), behaving("slow=600")])
    eventually(lambda: pending.state is CallState.RUNNING)
    assert pending.cancel()
    with pytest.raises(CallCancelledError):
        pending.result(timeout=5)
    assert pending.state is CallState.CANCELLED
    assert other.result(timeout=15).status == 200, "only the one that was meant"
    assert not other.cancel(), "it has its outcome already"


def test_a_waiting_call_is_cancelled_even_when_no_worker_is_told(
    valkey: Valkey, stack: Stack, gateway: Gateway
) -> None:
    front = Gateway(stack.settings)  # without a catalogue: the front queue
    gateway.celery.control.cancel_consumer("gateway", reply=True)
    try:
        pending = front.submit(GET_ADA)
        assert pending.state is CallState.PENDING
        front._results.mark_cancelled(pending.id)
    finally:
        gateway.celery.control.add_consumer("gateway", reply=True)
    with pytest.raises(CallCancelledError) as caught:
        pending.result(timeout=15)
    assert (caught.value.delivery, caught.value.attempts) == (Delivery.NOT_SENT, 0)
    front.close()


def test_a_call_whose_deadline_passes_in_the_queue_is_not_sent(stack: Stack, gateway: Gateway) -> None:
    front = Gateway(stack.settings)
    gateway.celery.control.cancel_consumer("gateway", reply=True)
    try:
        pending = front.submit(GET_ADA, deadline=0.05, correlation_id="too-late")
        time.sleep(0.1)
    finally:
        gateway.celery.control.add_consumer("gateway", reply=True)
    with pytest.raises(DeadlineExceededError) as caught:
        pending.result(timeout=15)
    assert (caught.value.delivery, caught.value.attempts) == (Delivery.NOT_SENT, 0)
    front.close()


def test_a_chain_feeds_a_grpc_result_into_a_rest_call(gateway: Gateway) -> None:
    get = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": previous("data.user.id")})
    result = chain(gateway.signature(GRPC_ADA), gateway.signature(get)).apply_async()
    assert result.get(timeout=15)["data"] == ADA


def test_a_chain_stops_at_the_first_error(gateway: Gateway) -> None:
    missing = gateway.signature(RestCall("user-service", "GET", "/users/999"))
    result = chain(missing, gateway.signature(GET_ADA)).apply_async()
    with pytest.raises(ServiceRejectedError):
        result.get(timeout=15)


def test_group_and_chord(gateway: Gateway) -> None:
    both = group(gateway.signature(GET_ADA), gateway.signature(GRPC_ADA)).apply_async().get(timeout=15)
    assert [reply["protocol"] for reply in both] == ["rest", "grpc"]
    body = RestCall(
        "user-service", "POST", "/echo", json={"names": [previous("0.data.name"), previous("1.data.user.name")]}
    )
    result = chord([gateway.signature(GET_ADA), gateway.signature(GRPC_ADA)], gateway.signature(body)).apply_async()
    assert "Ada Lovelace" in json.dumps(result.get(timeout=15)["data"])


def test_link_and_link_error(gateway: Gateway) -> None:
    def arrivals(correlation_id: str) -> int:
        call = RestCall("user-service", "GET", "/stats", query={"correlation_id": correlation_id})
        return len(gateway.submit(call).result(timeout=15).data)

    for call, link in ((GET_ADA, "link"), (RestCall("user-service", "GET", "/users/999"), "link_error")):
        name = f"linked-{link}-{time.time()}"
        follow = gateway.signature(GET_ADA, correlation_id=name)
        options: dict[str, Any] = {link: follow}
        gateway.signature(call).apply_async(**options)
        eventually(lambda name=name: arrivals(name) == 1)  # type: ignore[misc]


@pytest.fixture
def plain(stack: Stack) -> Celery:
    """A Celery app that knows nothing of our package."""
    return Celery("plain", broker=stack.settings.broker_url, backend=stack.settings.result_url, set_as_current=False)


def addressed_to(queue: str | None, stack: Stack) -> dict[str, Any]:
    """Options of `send_task`. It declares a queue that it names, and on RabbitMQ not as ours are."""
    if queue is None:
        return {}
    if stack.settings.broker_is_amqp:
        return {"exchange": "gateway:calls", "routing_key": queue.replace(".", ":")}
    return {"queue": queue}


@pytest.mark.parametrize("queue", [None, "gateway", "gateway.user-service"])
def test_a_plain_celery_app_sends_a_call(stack: Stack, plain: Celery, queue: str | None) -> None:
    call = {
        "protocol": "rest",
        "service": "user-service",
        "method": "GET",
        "route": "/users/{user_id}",
        "path": {"user_id": "123"},
    }
    options = addressed_to(queue, stack)
    result = plain.send_task(TASK, kwargs={"version": 1, "call": call, "deadline_s": 10}, **options)
    assert result.get(timeout=15)["data"] == ADA


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({}, InvalidCallError),
        ({"version": 2, "call": {}}, InvalidCallError),
        (
            {"version": 1, "call": {"protocol": "rest", "service": "user-service", "method": "GET", "route": "/../x"}},
            InvalidCallError,
        ),
        (
            {"version": 1, "call": {"protocol": "rest", "service": "nobody", "method": "GET", "route": "/"}},
            UnknownServiceError,
        ),
        ({"version": 1, "call": {"protocol": "graphql", "service": "closed", "query": "{ a }"}}, UnknownServiceError),
    ],
)
def test_a_message_of_unknown_version_or_shape_ends_as_a_typed_error(
    stack: Stack, plain: Celery, gateway: Gateway, kwargs: dict[str, Any], error: type[ServiceError]
) -> None:
    result = plain.send_task(TASK, kwargs=kwargs, **addressed_to("gateway", stack))
    with pytest.raises(error):
        result.get(timeout=15)
    assert gateway.submit(GET_ADA).result(timeout=15).status == 200, "the worker goes on"


def test_what_is_wrong_is_refused_at_submit_and_nothing_is_enqueued(stack: Stack, gateway: Gateway) -> None:
    before = gateway.submit(RestCall("user-service", "GET", "/stats")).result(timeout=15).data["requests"]
    for call, options, error in [
        (RestCall("nobody", "GET", "/"), {}, UnknownServiceError),
        (GraphQLCall("closed", "{ a }"), {}, UnknownServiceError),
        (GET_ADA, {"deadline": 0}, InvalidCallError),
        (GET_ADA, {"deadline": -1.0}, InvalidCallError),
        (GET_ADA, {"deadline": float("nan")}, InvalidCallError),
        (GET_ADA, {"correlation_id": "a\r\nb"}, InvalidCallError),
        (GET_ADA, {"idempotency_key": ""}, InvalidCallError),
        (RestCall("user-service", "GET", "/users/{x}", path={"x": previous("data")}), {}, InvalidCallError),
        (GET_ADA, {"correlation_id": ""}, InvalidCallError),
        (GET_ADA, {"deadline": 10**400}, InvalidCallError),
        ("GET /users", {}, InvalidCallError),
    ]:
        with pytest.raises(error) as caught:
            gateway.submit_many([GET_ADA, call], **options)  # type: ignore[list-item,arg-type]
        assert isinstance(caught.value, InvalidCallError | UnknownServiceError)
        assert caught.value.field
        assert caught.value.cure
    for wrong in (lambda: gateway.submit_many(GET_ADA), lambda: gateway.pending(None)):  # type: ignore[arg-type]
        with pytest.raises(InvalidCallError):
            wrong()
    for timeout in (float("nan"), "1", True):
        with pytest.raises(InvalidCallError, match="timeout"):
            gateway.submit(GET_ADA).result(timeout=timeout)  # type: ignore[arg-type]
    assert gateway.submit(GET_ADA).result(timeout=float("inf")).status == 200
    after = gateway.submit(RestCall("user-service", "GET", "/stats")).result(timeout=15).data["requests"]
    assert sum(after.values()) - sum(before.values()) == 4, "of those that were right"


def test_a_waiter_survives_a_reconnect(stack: Stack, valkey: Valkey, gateway: Gateway) -> None:
    pending = gateway.submit(behaving("slow=1500"))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pending.result, 20)
        results = gateway._results._redis
        eventually(lambda: any(client["sub"] not in ("0", 0) for client in results.client_list(_type="pubsub")))
        results.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        assert waiting.result(20).status == 200


def test_a_broker_that_is_away_is_a_typed_error_within_seconds() -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    with Gateway(Settings(broker_url=nowhere, result_url=nowhere)) as gateway:
        started = time.monotonic()
        with pytest.raises(GatewayUnavailableError) as caught:
            gateway.submit(GET_ADA)
        assert caught.value.delivery is Delivery.NOT_SENT
        assert time.monotonic() - started < 10


def test_a_broker_that_is_away_while_results_are_there(stack: Stack) -> None:
    settings = Settings(broker_url=f"redis://127.0.0.1:{free_port()}/0", result_url=stack.settings.result_url)
    with Gateway(settings) as gateway:
        started = time.monotonic()
        with pytest.raises(GatewayUnavailableError, match="broker") as caught:
            gateway.submit(GET_ADA)
        assert caught.value.delivery is Delivery.NOT_SENT
        assert time.monotonic() - started < 15


def test_neither_log_nor_redis_has_a_secret(stack: Stack, valkey: Valkey, gateway: Gateway) -> None:
    gateway.submit(GET_ADA).result(timeout=15)
    stored = b"".join(
        key + (gateway._results._redis.dump(key) or b"") for key in gateway._results._redis.scan_iter("*")
    )
    for secret in (stack.users.key, "wrong-key-canary"):
        assert secret not in stack.worker.output()
        assert secret.encode() not in stored
    assert "order-42" in stack.worker.output()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("INTERNAL_API_KEY", "", "env:INTERNAL_API_KEY: is not set"),
        ("USER_SERVICE_URL", "", "USER_SERVICE_URL is not set"),
        ("GATEWAY_BROKER_URL", "", "GATEWAY_BROKER_URL is not set"),
        ("GATEWAY_CONFIG", "/nowhere/gateway.toml", "cannot be read"),
    ],
)
def test_a_worker_with_a_wrong_environment_says_so_and_does_not_start(
    stack: Stack, variable: str, value: str, said: str
) -> None:
    environment = {**stack.environment, variable: value}
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers.app", "worker"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
