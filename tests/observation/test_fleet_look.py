"""What waits on the broker, and for how long, is told without a worker."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import Catalogue, Gateway, RestCall, Settings
from gateway.dev.rabbitmq import RabbitMQ, find_rabbitmq
from gateway.dev.valkey import Valkey
from gateway.fleet_look import FleetLook
from tests.integration.pool_rig import eventually


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(params=["redis", "rabbitmq"])
def settings(request: pytest.FixtureRequest, store: Valkey, tmp_path: Path) -> Iterator[Settings]:
    if request.param == "redis":
        yield Settings(broker_url=store.url(0), result_url=store.url(1))
        return
    try:
        find_rabbitmq()
    except FileNotFoundError as error:
        pytest.skip(f"nothing runs on RabbitMQ here: {error}")
    server = RabbitMQ(tmp_path)
    yield Settings(broker_url=server.url(), result_url=store.url(2))
    server.stop()


def test_depth_and_age(settings: Settings) -> None:
    services = {name: {"rest": {"url": "http://127.0.0.1:1"}} for name in ("busy", "idle")}
    look = FleetLook(settings, services)
    with Gateway(settings, Catalogue.parse({"services": services})) as gateway:
        gateway.submit_many([RestCall("busy", "GET", "/")] * 3)
        time.sleep(0.3)
        gateway.submit(RestCall("busy", "GET", "/"))
        eventually(lambda: look().queued["busy"] == 4, "all four wait")
    found = look()
    assert found.queued == {"busy": 4, "idle": 0}
    assert (found.dead, found.states["busy"].parked) == (0, 0)
    if settings.broker_is_amqp:
        assert found.oldest_s == {}, "RabbitMQ does not tell"
    else:
        assert 0.3 <= found.oldest_s["busy"] < 5
        assert found.oldest_s["idle"] == 0
    look.close()
