"""What a producer meets on RabbitMQ: queues that keep calls, and an error within seconds when a call is not taken."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Connection, Queue

from gateway import Gateway, RestCall, Settings
from gateway.broker import make_app
from gateway.dev.process import free_port
from gateway.dev.rabbitmq import RabbitMQ
from gateway.dev.valkey import Valkey
from gateway.errors import Delivery, GatewayUnavailableError
from gateway.queues import DEAD_QUEUE
from gateway.routing import FRONT_QUEUE
from workers.rabbitmq import prefetch_of_each

CALL = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"})


@pytest.fixture
def settings(vhost: str, valkey: Valkey) -> Settings:
    return Settings.from_env({"GATEWAY_BROKER_URL": vhost, "GATEWAY_RESULT_URL": valkey.url(8)})


@pytest.fixture
def gateway(settings: Settings) -> Iterator[Gateway]:
    """Of a producer that has no catalogue: its calls go to the front queue."""
    made = Gateway(settings)
    yield made
    made.close()


def depth(url: str, queue: str = FRONT_QUEUE) -> int:
    """Messages in a queue."""
    with Connection(url) as connection:
        channel: Any = connection.default_channel
        return int(channel.queue_declare(queue, passive=True).message_count)


def fails(gateway: Gateway, *, within_s: float) -> GatewayUnavailableError:
    started = time.monotonic()
    with pytest.raises(GatewayUnavailableError) as caught:
        gateway.submit(CALL, deadline=60)
    assert time.monotonic() - started < within_s
    return caught.value


def test_producers_and_workers_declare_the_same_quorum_queues(gateway: Gateway, settings: Settings) -> None:
    gateway.submit(CALL, deadline=60)
    app = make_app(settings, queues=(FRONT_QUEUE, "celery", "gateway.user-service"))
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()
        for queue in app.amqp.queues.values():
            wrong = Queue(
                queue.name, durable=True, queue_arguments={**(queue.queue_arguments or {}), "x-expires": 9000}
            )
            with pytest.raises(PreconditionFailed, match="x-expires"), connection.channel() as channel:
                wrong(channel).queue_declare()
    kinds = {queue.name: (queue.queue_arguments or {}).get("x-queue-type") for queue in app.amqp.queues.values()}
    assert {name for name, kind in kinds.items() if kind != "quorum"} == {"celery"}
    assert set(kinds) == {FRONT_QUEUE, "celery", "gateway.user-service", DEAD_QUEUE}
    # One that nobody named yet: with the same arguments, and one of another application as Celery has it.
    assert app.amqp.queues["gateway.new"].queue_arguments == app.amqp.queues[FRONT_QUEUE].queue_arguments
    assert not app.amqp.queues["theirs"].queue_arguments
    app.close()


def test_a_worker_of_some_queues_takes_poisonous_messages_too(settings: Settings) -> None:
    app = make_app(settings, queues=(FRONT_QUEUE, "gateway.a", "gateway.b"))
    app.amqp.queues.select(["gateway.b"])
    assert set(app.amqp.queues.consume_from) == {"gateway.b", DEAD_QUEUE}
    app.close()


def test_many_calls_are_confirmed_together(gateway: Gateway, vhost: str) -> None:
    gateway.submit(CALL, deadline=60)
    gateway.submit_many([CALL] * 300, deadline=60)
    assert depth(vhost) == 301


def test_an_alarm_is_a_typed_error_within_seconds_and_ends(rabbitmq: RabbitMQ, gateway: Gateway, vhost: str) -> None:
    gateway.submit(CALL, deadline=60)
    rabbitmq.alarm(True)
    try:
        # RabbitMQ tells a connection that it is blocked after the connection has sent something.
        assert fails(gateway, within_s=4).delivery is Delivery.MAYBE_SENT
        assert "alarm" in fails(gateway, within_s=4).message
        with pytest.raises(GatewayUnavailableError, match="alarm"):
            gateway.submit_many([CALL] * 50, deadline=60)
    finally:
        rabbitmq.alarm(False)
    gateway.submit(CALL, deadline=60)
    assert depth(vhost) == 2, "what the producer was told of is not taken behind its back"


def test_events_wait_for_nobody(rabbitmq: RabbitMQ, settings: Settings) -> None:
    app = make_app(settings)
    with app.connection_for_write() as connection, app.events.Dispatcher(connection, hostname="h") as events:
        rabbitmq.alarm(True)
        try:
            started = time.monotonic()
            for _ in range(500):
                events.send("worker-heartbeat", freq=2)
            while not connection.connection.blocked:
                events.send("worker-heartbeat", freq=2)
                assert time.monotonic() - started < 10, "RabbitMQ says that it blocks the connection"
            # More than the sockets hold between here and a server that reads nothing.
            started = time.monotonic()
            for _ in range(300):
                events.send("worker-heartbeat", freq="x" * 100_000)
            assert time.monotonic() - started < 4
        finally:
            rabbitmq.alarm(False)
        ends = time.monotonic() + 10
        while connection.connection.blocked:
            events.send("worker-heartbeat", freq=2)
            assert time.monotonic() < ends, "it is told when that is over"
    app.close()


def test_a_queue_that_was_deleted_is_an_error_once(rabbitmq: RabbitMQ, gateway: Gateway, vhost: str) -> None:
    gateway.submit(CALL, deadline=60)
    with Connection(vhost) as connection:
        channel: Any = connection.default_channel
        channel.queue_delete(FRONT_QUEUE)
    assert fails(gateway, within_s=4).delivery is Delivery.NOT_SENT
    gateway.submit(CALL, deadline=60)
    assert depth(vhost) == 1


def test_a_queue_that_refuses_for_a_moment_costs_no_call_and_one_that_goes_on_is_a_typed_error(
    rabbitmq: RabbitMQ, gateway: Gateway, vhost: str
) -> None:
    gateway.submit(CALL, deadline=60)
    name = vhost.rpartition("/")[2]
    full = '[{<<"max-length">>,1},{<<"overflow">>,<<"reject-publish">>}]'
    said = rabbitmq.ask(
        f'rabbit_policy:set(<<"{name}">>, <<"full">>, <<"^gateway$">>, {full}, 0, <<"queues">>, <<"guest">>)'
    )
    assert said == "ok"
    # It refuses from the second on that is more than it holds.
    error = None
    for _ in range(5):
        try:
            gateway.submit(CALL, deadline=60)
        except GatewayUnavailableError as refused:
            error = refused
            break
    assert error is not None
    assert "MessageNacked" in error.message
    with Connection(vhost) as connection, ThreadPoolExecutor(1) as threads:
        channel: Any = connection.default_channel
        held = threads.submit(gateway.submit, CALL, deadline=60)
        # A message has to go before there is room for another.
        while not held.done():
            message = channel.basic_get(FRONT_QUEUE)
            if message is not None:
                channel.basic_ack(message.delivery_tag)
        held.result(timeout=10)


def test_a_broker_that_does_not_answer_is_a_typed_error_within_seconds(
    rabbitmq: RabbitMQ, gateway: Gateway, vhost: str
) -> None:
    gateway.submit(CALL, deadline=60)
    os.kill(rabbitmq.process.pid, signal.SIGSTOP)
    try:
        # Not, if the queue's length was asked for first.
        assert fails(gateway, within_s=12).delivery in (Delivery.MAYBE_SENT, Delivery.NOT_SENT)
        assert fails(gateway, within_s=12).delivery is Delivery.NOT_SENT
    finally:
        os.kill(rabbitmq.process.pid, signal.SIGCONT)
    gateway.submit(CALL, deadline=60)
    assert depth(vhost) >= 2


def test_connections_that_are_closed_by_the_server_are_replaced(
    rabbitmq: RabbitMQ, gateway: Gateway, vhost: str
) -> None:
    gateway.submit(CALL, deadline=60)
    rabbitmq.close_connections()
    for _ in range(3):
        try:
            gateway.submit(CALL, deadline=60)
            break
        except GatewayUnavailableError:
            continue
    gateway.submit(CALL, deadline=60)
    assert depth(vhost) >= 3


def test_connections_that_the_server_closed_while_they_lay_idle_cost_no_submit(
    rabbitmq: RabbitMQ, gateway: Gateway, vhost: str
) -> None:
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda _: gateway.submit(CALL, deadline=60), range(24)))
    rabbitmq.close_connections()
    for _ in range(10):
        gateway.submit(CALL, deadline=60)
    assert depth(vhost) == 34


def test_a_list_of_servers_is_tried_in_turn_with_the_same_bounds(
    rabbitmq: RabbitMQ, settings: Settings, vhost: str
) -> None:
    away = f"amqp://guest:guest@127.0.0.1:{free_port()}/x"
    app = make_app(replace(settings, broker_url=f"{away};{vhost}"))
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=3, timeout=10)
        channel: Any = connection.default_channel
        assert type(channel).__module__ == "gateway.rabbitmq_channel"
    app.close()


@pytest.mark.parametrize(
    ("calls", "queues", "each"), [(300, 1, 300), (300, 6, 200), (300, 500, 8), (5, 3, 5), (5, 500, 5), (2, 1, 2)]
)
def test_a_worker_of_many_queues_takes_a_bounded_number_of_messages(calls: int, queues: int, each: int) -> None:
    assert prefetch_of_each(calls, queues) == each
