"""Where broker and results may be."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import CallState, Gateway, RestCall, Settings
from gateway.dev.process import Process
from gateway.dev.valkey import find_server
from gateway.redis_client import open_sync

CALL = RestCall("user-service", "GET", "/users/1")


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server on a Unix socket alone."""
    folder = tmp_path_factory.mktemp("unix")
    path = folder / "valkey.sock"
    argv = [find_server(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]

    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(path)) == 0

    with Process("valkey", argv, log=folder / "log").wait_until(answers, timeout=20):
        yield path


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # Celery's own
def test_a_unix_socket_carries_calls_and_results(path: Path) -> None:
    settings = Settings.from_env(
        {
            "GATEWAY_BROKER_URL": f"redis+socket://{path}?virtual_host=2",
            "GATEWAY_RESULT_URL": f"redis+socket://{path}?virtual_host=3",
        }
    )
    with Gateway(settings) as gateway:
        pending = gateway.submit(CALL)
        assert pending.state.value == "pending"
        with pytest.raises(TimeoutError):
            pending.result(timeout=0.2)
        with open_sync(f"redis+socket://{path}?virtual_host=2") as broker:
            assert broker.llen("gateway") == 1
        with open_sync(settings.result_url) as results:
            assert results.exists(f"gateway:call:{pending.id}")
        # Celery and our reader mean the same database.
        gateway.celery.backend.store_result(pending.id, KeyError("x"), "FAILURE")
        assert pending.state is CallState.DONE
