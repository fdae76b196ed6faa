"""Services that count what arrives, and a fleet of four workers that the tests share which leave it whole."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.dev.rabbitmq import RabbitMQ, find_rabbitmq
from tests.faults.figures import FIGURES
from tests.faults.fleet import Fleet
from tests.faults.late import LateService
from tests.faults.matrix.table import ROWS, draw
from tests.servers.counting import CountingService
from tests.servers.counting_rpc import CountingRpc

_CATALOGUE = Path(__file__).with_name("gateway.toml")
PROTOS = Path(__file__).resolve().parents[1] / "protos"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured."""
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)
    if ROWS:
        terminalreporter.write_line("")
        terminalreporter.write(draw(ROWS))


@pytest.fixture(scope="session")
def shared_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], RabbitMQ]]:
    """Gives a RabbitMQ for every fleet that does not harm it, started when it is first asked for."""
    started: list[RabbitMQ] = []

    def give() -> RabbitMQ:
        if not started:
            try:
                find_rabbitmq()
            except FileNotFoundError as error:
                pytest.skip(f"nothing on RabbitMQ: {error}")
            started.append(RabbitMQ(tmp_path_factory.mktemp("rabbitmq")))
        return started[0]

    yield give
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingService]:
    """The HTTP service; each test has paths of its own."""
    with CountingService(tmp_path_factory.mktemp("counting")) as service:
        yield service


@pytest.fixture(scope="session")
def counting_rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingRpc]:
    """The gRPC service; each test has cases of its own."""
    service = CountingRpc(tmp_path_factory.mktemp("counting-rpc"))
    yield service
    service.stop()


@pytest.fixture(scope="session")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LateService]:
    """A service that refuses connections until a test starts it; for one test."""
    service = LateService(tmp_path_factory.mktemp("late"))
    yield service
    service.stop()


@pytest.fixture(scope="session")
def environment(counting: CountingService, counting_rpc: CountingRpc, late: LateService) -> dict[str, str]:
    """What the variables of the catalogue stand for."""
    return {
        "COUNTING_URL": counting.url,
        "COUNTING_TARGET": counting_rpc.target,
        "LATE_URL": f"http://127.0.0.1:{late.port}",
        "PROTOS": str(PROTOS),
    }


@pytest.fixture(scope="session")
def fleet(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Four workers; a test that harms them has a fleet of its own."""
    with Fleet(tmp_path_factory.mktemp("fleet"), _CATALOGUE.read_text(), environment, workers=4) as made:
        yield made
