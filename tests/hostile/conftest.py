"""One worker of the real app for the whole suite, its services with their ledgers, and the count of the inputs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.dev.valkey import Valkey
from tests.hostile.scene import Scene


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def scene(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder: Path = tmp_path_factory.mktemp("scene")
    made = Scene(valkey, folder)
    yield made
    made.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The one place that says how many hostile inputs there are."""
    from tests.hostile.families import count

    counted = count()
    families = ", ".join(f"{family} {number}" for family, number in sorted(counted.items()))
    terminalreporter.write_line(f"hostile inputs: {counted.total()} distinct ({families})")
