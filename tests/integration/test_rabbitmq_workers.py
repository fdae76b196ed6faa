"""However workers and connections end, every call has one outcome, on either broker."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection

from gateway import Catalogue, Gateway, PendingCall, RestCall, Settings
from gateway.dead_letters import DeadLetters
from gateway.dev.rabbitmq import RabbitMQ
from gateway.dev.valkey import Valkey
from gateway.errors import Delivery, GatewayUnavailableError, OutcomeUnknownError, ServiceFaultError
from gateway.queues import DELIVERY_LIMIT
from tests.integration.pool_rig import eventually
from tests.servers.conduct import Conduct
from tests.servers.counting import CountingService
from tests.servers.worker import Worker

CATALOGUE = """
[defaults]
retry = { attempts = 2, backoff = 0.05 }
breaker = { enabled = false }
timeouts = { total = 30.0, attempt = 20.0, connect = 1.0, pool = 1.0 }

[services.counted]
rest.url = "${COUNTED_URL}"
"""


class Town:
    """A service that counts, a gateway, and workers of the real app on one broker.

    Args:
        folder: takes logs and the catalogue.
        broker_url: where calls go.
        valkey: holds results, in its database 9, which is emptied.
        counted: the service.
    """

    def __init__(self, folder: Path, broker_url: str, valkey: Valkey, counted: CountingService) -> None:
        self.folder = folder
        self.counted = counted
        config = folder / "gateway.toml"
        config.write_text(CATALOGUE)
        self.redis: Any = redis.Redis.from_url(valkey.url(9), decode_responses=True)
        self.redis.flushdb()
        self.environment = {
            "GATEWAY_BROKER_URL": broker_url,
            "GATEWAY_RESULT_URL": valkey.url(9),
            "GATEWAY_CONFIG": str(config),
            "COUNTED_URL": counted.url,
        }
        self.gateway = Gateway(Settings.from_env(self.environment), Catalogue.load(config))
        self.workers: list[Worker] = []

    def worker(self, *, app: str = "workers.app", concurrency: int = 20, **environment: str) -> Worker:
        made = Worker(app, self.folder, env=self.environment | environment, concurrency=concurrency, timeout=60)
        self.workers.append(made)
        return made

    def submit(self, path: str, count: int, method: str = "GET") -> list[PendingCall]:
        return self.gateway.submit_many([RestCall("counted", method, path)] * count, deadline=45)

    def arrived(self, path: str) -> int:
        return len(self.counted.arrivals(path))

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.gateway.close()
        self.redis.close()


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingService]:
    with CountingService(tmp_path_factory.mktemp("counted")) as service:
        yield service


@pytest.fixture(params=["redis", "rabbitmq"])
def town(request: pytest.FixtureRequest, tmp_path: Path, valkey: Valkey, counted: CountingService) -> Iterator[Town]:
    """On each broker in turn."""
    if request.param == "rabbitmq":
        url = request.getfixturevalue("vhost")
    else:
        url = valkey.url(10)
        with redis.Redis.from_url(url) as broker:
            broker.flushdb()
    made = Town(tmp_path, url, valkey, counted)
    yield made
    made.close()


@pytest.fixture
def rabbit_town(tmp_path: Path, vhost: str, valkey: Valkey, counted: CountingService) -> Iterator[Town]:
    """On RabbitMQ alone."""
    made = Town(tmp_path, vhost, valkey, counted)
    yield made
    made.close()


def path_of(request: pytest.FixtureRequest) -> str:
    return "/" + "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


def replies(pending: list[PendingCall]) -> set[int]:
    return {call.result(timeout=50).status for call in pending}  # type: ignore[misc]  # no gRPC here


@pytest.mark.parametrize("how", ["warm", "soft"])
def test_a_stop_in_order_sends_nothing_twice(town: Town, request: pytest.FixtureRequest, how: str) -> None:
    path = path_of(request)
    town.counted.behave(path, Conduct(delay_s=1.0))
    soft = {"TUNED_SOFT_S": "10"} if how == "soft" else {}
    worker = town.worker(app="tests.servers.tuned_app", concurrency=5, **soft)
    pending = town.submit(path, 20, "POST")
    eventually(lambda: town.arrived(path) >= 5, "five run")
    worker.warm_stop() if how == "warm" else worker.cold_stop()
    assert worker.wait(30) == 0
    assert town.arrived(path) < 20, "the rest was given back"
    town.worker(concurrency=20)
    assert replies(pending) == {200}
    assert town.arrived(path) == 20


def test_a_cold_stop_loses_nothing(town: Town, request: pytest.FixtureRequest) -> None:
    path = path_of(request)
    town.counted.behave(path, Conduct(delay_s=3.0, first=5))
    worker = town.worker(concurrency=5)
    pending = town.submit(path, 20)
    eventually(lambda: town.arrived(path) >= 5, "five run")
    worker.cold_stop()
    worker.wait(30)
    town.worker()
    assert replies(pending) == {200}
    assert town.arrived(path) <= 2 * 20, "nothing idempotent runs more than twice"


def test_a_killed_workers_calls_are_done_by_another(town: Town, request: pytest.FixtureRequest) -> None:
    path = path_of(request)
    town.counted.behave(path, Conduct(delay_s=2.0))
    worker = town.worker(concurrency=10)
    pending = town.submit(f"{path}/get", 10)
    unsafe = town.submit(f"{path}/post", 10, "POST")
    eventually(lambda: town.arrived(path) >= 10, "ten run")
    worker.kill()
    town.worker()
    assert replies(pending) == {200}
    unknown = 0
    for call in unsafe:
        try:
            assert call.result(timeout=50).status == 200
        except OutcomeUnknownError:
            unknown += 1
    assert town.arrived(f"{path}/post") <= 10, "what may not be repeated is not"
    assert unknown <= 10


def test_a_countdown_is_kept(town: Town, request: pytest.FixtureRequest) -> None:
    path = path_of(request)
    worker = town.worker()
    signature = town.gateway.signature(RestCall("counted", "GET", path), deadline=30)
    at = time.monotonic()
    result = signature.apply_async(countdown=3)
    if "amqp" in town.environment["GATEWAY_BROKER_URL"]:
        # It waits in RabbitMQ, and not in the worker.
        worker.warm_stop()
        assert worker.wait(20) == 0
        town.worker()
    assert result.get(timeout=20)["status"] == 200
    assert 2.0 < town.counted.arrivals(path)[0].at - at < 15.0


def test_a_parked_call_comes_back(town: Town, request: pytest.FixtureRequest) -> None:
    path = path_of(request)
    town.counted.behave(path, Conduct(status=429, retry_after="2", first=1))
    town.worker()
    (pending,) = town.submit(path, 1)
    assert pending.result(timeout=30).status == 200
    first, second = town.counted.arrivals(path)
    assert second.at - first.at >= 2.0


# -- RabbitMQ alone ----------------------------------------------------------------------------------------------------


def test_calls_go_on_while_their_connection_is_replaced(
    rabbitmq: RabbitMQ, rabbit_town: Town, request: pytest.FixtureRequest
) -> None:
    path = path_of(request)
    rabbit_town.counted.behave(path, Conduct(delay_s=3.0))
    worker = rabbit_town.worker()
    pending = rabbit_town.submit(path, 10, "POST")
    eventually(lambda: rabbit_town.arrived(path) == 10, "they run")
    rabbitmq.close_connections()
    assert replies(pending) == {200}
    # Their messages came again, and ended without another attempt.
    url = rabbit_town.environment["GATEWAY_BROKER_URL"]
    eventually(lambda: _left(rabbitmq, url) == 0, "nothing is left on the broker", 30)
    assert rabbit_town.arrived(path) == 10
    assert worker.exit_code is None


def test_a_long_goodbye_is_not_taken_for_a_death(
    rabbitmq: RabbitMQ, rabbit_town: Town, request: pytest.FixtureRequest
) -> None:
    path = path_of(request)
    rabbit_town.counted.behave(path, Conduct(delay_s=7.0))
    first = rabbit_town.worker(app="tests.integration.hasty_app")
    pending = rabbit_town.submit(path, 3, "POST")
    eventually(lambda: rabbit_town.arrived(path) == 3, "they run")
    first.warm_stop()
    second = rabbit_town.worker()
    # Three times as long as RabbitMQ waits for a heartbeat.
    assert replies(pending) == {200}
    assert first.wait(20) == 0
    url = rabbit_town.environment["GATEWAY_BROKER_URL"]
    eventually(lambda: _left(rabbitmq, url) == 0, "nothing is left on the broker")
    assert rabbit_town.arrived(path) == 3
    assert "redeliver" not in second.output()


def test_a_poisonous_message_ends_and_is_kept(rabbit_town: Town, request: pytest.FixtureRequest) -> None:
    path = path_of(request)
    # It declares where poisonous messages go.
    rabbit_town.worker().stop()
    (pending,) = rabbit_town.submit(path, 1, "POST")
    with Connection(rabbit_town.environment["GATEWAY_BROKER_URL"]) as connection:
        channel: Any = connection.default_channel
        for _ in range(DELIVERY_LIMIT + 1):
            found: Callable[[], Any] = lambda: channel.basic_get("gateway.counted")  # noqa: E731
            message = eventually(found, "it comes again")
            # As if the worker that got it had died.
            channel.basic_reject(message.delivery_info["delivery_tag"], requeue=True)
        assert channel.basic_get("gateway.counted") is None
    rabbit_town.worker()
    with pytest.raises(OutcomeUnknownError, match="no worker lived"):
        pending.result(timeout=30)
    with DeadLetters.open(rabbit_town.environment["GATEWAY_RESULT_URL"]) as letters:
        letter = eventually(lambda: letters.find(pending.id), "a letter is kept")
    assert letter.reason == "poisonous"
    assert rabbit_town.arrived(path) == 0


def test_a_worker_of_five_hundred_services_starts_in_time(rabbit_town: Town) -> None:
    services = "\n".join(f'[services.s{number}]\nrest.url = "${{COUNTED_URL}}"\n' for number in range(500))
    config = Path(rabbit_town.environment["GATEWAY_CONFIG"])
    config.write_text(CATALOGUE + services)
    started = time.monotonic()
    rabbit_town.worker().stop()
    first_s = time.monotonic() - started
    started = time.monotonic()
    rabbit_town.worker()
    assert time.monotonic() - started < 20, f"the first took {first_s:g} s"
    (pending,) = rabbit_town.gateway.submit_many([RestCall("counted", "GET", "/among-many")], deadline=20)
    assert pending.result(timeout=25).status == 200


def _left(rabbitmq: RabbitMQ, url: str) -> int:
    """Messages in the service's queue and with workers."""
    vhost = url.rpartition("/")[2]
    said = rabbitmq.ask(
        f'rabbit_amqqueue:with(rabbit_misc:r(<<"{vhost}">>, queue, <<"gateway.counted">>), '
        "fun(Q) -> proplists:get_value(messages, rabbit_amqqueue:info(Q, [messages])) end)"
    )
    return int(said)


def astray(town: Town, path: str) -> Any:
    """A call for a queue that nobody has."""
    made = town.gateway.signature(RestCall("counted", "POST", path), deadline=30)
    made.options.pop("queue")
    return made.set(exchange="gateway:calls", routing_key="gateway:nobodys")


def test_what_leads_nowhere_holds_up_no_other_call(rabbit_town: Town, request: pytest.FixtureRequest) -> None:
    town, path = rabbit_town, path_of(request)
    town.counted.behave(f"{path}/bad", Conduct(status=500))
    worker = town.worker()
    good, bad = (RestCall("counted", "POST", f"{path}/{name}") for name in ("good", "bad"))
    linked = [
        town.gateway.signature(good, deadline=20).apply_async(link=[astray(town, f"{path}/next")]).id for _ in range(11)
    ]
    failed = [
        town.gateway.signature(bad, deadline=20).apply_async(link_error=[astray(town, f"{path}/next")]).id
        for _ in range(3)
    ]
    chained = (town.gateway.signature(good, deadline=20) | astray(town, f"{path}/next")).apply_async()
    began = time.monotonic()
    assert replies(town.submit(f"{path}/plain", 10)) == {200}
    assert time.monotonic() - began < 10
    assert replies([town.gateway.pending(call_id) for call_id in (*linked, chained.parent.id)]) == {200}
    for call_id in failed:
        with pytest.raises(ServiceFaultError):
            town.gateway.pending(call_id).result(timeout=20)
    # What will not be enqueued has an outcome too.
    with pytest.raises(GatewayUnavailableError, match="not enqueued") as told:
        town.gateway.pending(chained.id).result(timeout=20)
    assert told.value.delivery is Delivery.NOT_SENT
    eventually(lambda: worker.output().count("what follows it was not enqueued") == 15, "the log names each")
    assert town.arrived(f"{path}/good") == 12
    assert not town.arrived(f"{path}/next")
