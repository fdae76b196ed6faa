"""Servers that the integration tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.dev.rabbitmq import RabbitMQ, find_rabbitmq
from gateway.dev.valkey import Valkey
from tests.integration.pool_rig import Rig
from tests.integration.stack import Stack


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey for the whole session; a test flushes the databases that it uses, and never stops it."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ for the whole session; a test uses a virtual host of its own, and never stops it."""
    try:
        find_rabbitmq()
    except FileNotFoundError as error:
        pytest.skip(f"nothing runs on RabbitMQ here: {error}")
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    yield server
    server.stop()


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> Iterator[str]:
    """URL of an empty virtual host, dropped after the test."""
    name = rabbitmq.new_vhost()
    yield rabbitmq.url(name)
    rabbitmq.drop_vhost(name)


#: Modules of which every test runs on each broker.
_ON_EACH_BROKER = ("tests.integration.test_gateway",)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stack" in metafunc.fixturenames and metafunc.module.__name__ in _ON_EACH_BROKER:
        metafunc.parametrize("stack", ["redis", "rabbitmq"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The demo user service and a worker of the real app, on Redis unless the test asks for RabbitMQ."""
    broker: str = getattr(request, "param", "redis")
    url = request.getfixturevalue("rabbitmq").url() if broker == "rabbitmq" else None
    made = Stack(valkey, tmp_path_factory.mktemp("stack"), url)
    yield made
    made.close()


@pytest.fixture
def rig(valkey: Valkey, tmp_path: Path) -> Iterator[Rig]:
    """A client and workers on our pool; the executor is told by each call what to do."""
    made = Rig(valkey, tmp_path)
    yield made
    made.close()


def pytest_report_header() -> str | None:
    """Say in one line what cannot run here."""
    try:
        find_rabbitmq()
    except FileNotFoundError as error:
        return f"not run: every test on RabbitMQ ({error})"
    return None
