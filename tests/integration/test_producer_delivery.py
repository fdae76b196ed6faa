"""What `submit` says when the broker fails halfway, and what it leaves behind."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway import CallState, Gateway, RestCall, Settings
from gateway.dev.process import free_port
from gateway.dev.valkey import Valkey
from gateway.errors import Delivery, GatewayUnavailableError, InvalidCallError
from gateway.publisher import Publisher
from tests.integration.stack import Stack
from tests.servers.proxy import Proxy

CALL = RestCall("user-service", "GET", "/users/1")

Make = Callable[..., Gateway]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own: broker in database 0, results in database 1."""
    server = Valkey(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def make(store: Valkey) -> Iterator[Make]:
    with ExitStack() as open_ones:
        yield lambda broker=None: open_ones.enter_context(
            Gateway(Settings(broker_url=broker or store.url(0), result_url=store.url(1)))
        )


def queued(store: Valkey) -> int:
    with redis.Redis.from_url(store.url(0)) as client:
        return int(client.llen("gateway"))


def records(store: Valkey) -> list[Any]:
    with redis.Redis.from_url(store.url(1)) as client:
        return list(client.scan_iter("gateway:call:*"))


def configure(store: Valkey, name: str, value: str) -> None:
    with redis.Redis.from_url(store.url(0)) as client:
        client.config_set(name, value)


def test_a_link_that_is_cut_after_the_message_arrived(store: Valkey, make: Make) -> None:
    with Proxy(store.port) as proxy:
        gateway = make(proxy.url(0))
        proxy.cut_after(b"LPUSH")
        with pytest.raises(GatewayUnavailableError, match="broker") as caught:
            gateway.submit(CALL)
        assert caught.value.delivery is Delivery.MAYBE_SENT
        assert queued(store) == 1
        assert caught.value.call_id
        assert gateway.pending(caught.value.call_id).state is CallState.PENDING, "it can be asked for"
        # And the next one goes its way.
        gateway.submit(CALL)
        assert queued(store) == 2


def test_a_broker_that_is_full_did_not_take_the_call(store: Valkey, make: Make) -> None:
    gateway = make()
    original = gateway._publisher.send

    def send(messages: Any) -> None:
        configure(store, "maxmemory", "1")
        try:
            original(messages)
        finally:
            configure(store, "maxmemory", "0")

    for calls, delivery, state in (
        ([CALL], Delivery.NOT_SENT, CallState.UNKNOWN),
        # Of several, some may have been taken.
        ([CALL, CALL], Delivery.MAYBE_SENT, CallState.PENDING),
    ):
        gateway.submit(CALL)
        before = queued(store)
        with pytest.MonkeyPatch.context() as patch:
            # The record is written; the message is then refused.
            patch.setattr(gateway._publisher, "send", send)
            with pytest.raises(GatewayUnavailableError, match="maxmemory") as caught:
                gateway.submit_many(calls)
        assert caught.value.delivery is delivery
        assert queued(store) == before
        assert caught.value.call_id
        assert gateway.pending(caught.value.call_id).state is state


def test_a_broker_that_is_away_leaves_no_record(store: Valkey, make: Make) -> None:
    gateway = make(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(GatewayUnavailableError) as caught:
        gateway.submit_many([CALL, CALL])
    assert caught.value.delivery is Delivery.NOT_SENT
    assert records(store) == []


@pytest.mark.parametrize("value", [object(), {("a", 1): 1}, 10**5000], ids=["object", "keys", "number"])
def test_a_call_that_was_spoilt_after_it_was_made_leaves_no_record(store: Valkey, make: Make, value: object) -> None:
    # Were it sent, this broker would be the one to blame.
    gateway = make(f"redis://127.0.0.1:{free_port()}/0")
    body: dict[str, Any] = {"amount": 1}
    call = RestCall("user-service", "POST", "/charges", json={"inner": body})
    assert isinstance(call.json, dict)
    spoilt: Any = call.json["inner"]
    spoilt["amount"] = value
    with pytest.raises(InvalidCallError, match="cannot be encoded") as caught:
        gateway.submit_many([CALL, call])
    assert (caught.value.field, caught.value.delivery) == ("call", Delivery.NOT_SENT)
    assert (records(store), queued(store)) == ([], 0)


def test_waiting_for_a_free_connection_is_bounded(store: Valkey, make: Make) -> None:
    gateway = make()
    gateway._publisher = Publisher(gateway.celery, acquire_s=0.2)
    pool: Any = gateway.celery.pool
    with ExitStack() as held:
        for _ in range(pool.limit):
            held.enter_context(pool.acquire(block=True))
        with pytest.raises(GatewayUnavailableError) as caught:
            gateway.submit(CALL)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert (records(store), queued(store)) == ([], 0)
    gateway.submit(CALL)
    assert queued(store) == 1


@pytest.mark.parametrize("name", ["correlation_id", "request_id", "idempotency_key"])
def test_an_empty_id_is_refused_and_not_replaced(store: Valkey, make: Make, name: str) -> None:
    options: dict[str, Any] = {name: ""}
    with pytest.raises(InvalidCallError, match=name):
        make().submit(CALL, **options)
    assert records(store) == []


async def test_trace_context_travels(stack: Stack) -> None:
    parent, state = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1"
    call = RestCall("user-service", "POST", "/echo", json={})
    pending = await stack.gateway.asubmit(call, traceparent=parent, tracestate=state)
    (many,) = stack.gateway.submit_many([call], traceparent=parent, tracestate=state)
    for reply in (await pending, await many):
        sent = reply.data["headers"]
        assert (sent["traceparent"], sent["tracestate"]) == (parent, state)
