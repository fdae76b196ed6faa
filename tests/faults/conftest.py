"""Services that count what arrives, and a fleet of four workers that the tests share which leave it whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.figures import FIGURES
from tests.faults.fleet import Fleet
from tests.faults.late import LateService
from tests.servers.counting import CountingService
from tests.servers.counting_rpc import CountingRpc

_CATALOGUE = Path(__file__).with_name("gateway.toml")
PROTOS = Path(__file__).resolve().parents[1] / "protos"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; run by `make faults`, or with `-m slow`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow, unless marks were chosen."""
    if not config.getoption("markexpr"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured."""
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)


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
