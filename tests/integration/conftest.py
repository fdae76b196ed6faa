"""Servers that the integration tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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
def stack(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The demo user service and a worker of the real app."""
    made = Stack(valkey, tmp_path_factory.mktemp("stack"))
    yield made
    made.close()


@pytest.fixture
def rig(valkey: Valkey, tmp_path: Path) -> Iterator[Rig]:
    """A client and workers on our pool; the executor is told by each call what to do."""
    made = Rig(valkey, tmp_path)
    yield made
    made.close()
