"""The Procfile as it is run: all processes up, a call answered, and all of them gone after SIGTERM."""

import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import Gateway, RestCall
from gateway.dev.process import Process, free_port, is_listening
from gateway.dev.valkey import Valkey
from tests.integration.marked import Marked

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    valkey = Valkey(tmp_path_factory.mktemp("valkey"))
    yield valkey
    valkey.stop()


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Marked]:
    marked = Marked(tmp_path)
    yield marked
    marked.end()


def write_env(folder: Path, **changed: object) -> Path:
    """`.env` as `.env.example` says, with other values for some."""
    lines = []
    for line in (ROOT / ".env.example").read_text().splitlines():
        name, separator, value = line.partition("=")
        lines.append(f"{name}={changed.pop(name, value)}" if separator and not line.startswith("#") else line)
    assert not changed, f".env.example does not have {', '.join(changed)}"
    path = folder / "env"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_procfile_runs_a_call_and_stops_in_good_order(valkey: Valkey, marked: Marked) -> None:
    rest, grpc, flower = free_port(), free_port(), free_port()
    env = write_env(
        marked.folder,
        GATEWAY_BROKER_URL=valkey.url(),
        GATEWAY_RESULT_URL=valkey.url(),
        USER_SERVICE_REST_PORT=rest,
        USER_SERVICE_GRPC_PORT=grpc,
        USER_SERVICE_URL=f"http://127.0.0.1:{rest}",
        USER_SERVICE_GRAPHQL_URL=f"http://127.0.0.1:{rest}/graphql",
        USER_SERVICE_GRPC_TARGET=f"127.0.0.1:{grpc}",
        INTERNAL_API_KEY="a-key-of-this-test",
        FLOWER_PORT=flower,
        FLOWER_BASIC_AUTH="gateway:a-login-of-this-test",
    )
    bin_folder = Path(sys.executable).parent
    process = Process(
        "honcho",
        [str(bin_folder / "honcho"), "-f", str(ROOT / "Procfile"), "-e", str(env), "start"],
        log=marked.folder / "honcho.log",
        # The processes are started as `python`: the one of this test run.
        env=marked.environ(PATH=f"{bin_folder}:/usr/bin:/bin"),
        cwd=ROOT,
    )
    try:
        process.wait_until(lambda: is_listening(rest) and is_listening(grpc), timeout=30)
        environ = {
            "GATEWAY_BROKER_URL": valkey.url(),
            "GATEWAY_RESULT_URL": valkey.url(),
            "GATEWAY_CONFIG": str(ROOT / "gateway.toml"),
        }
        with Gateway.from_env(environ) as gateway:
            call = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"})
            assert gateway.submit(call, deadline=40).result().data["name"] == "Ada Lovelace"
        process.wait_until(lambda: is_listening(flower), timeout=30)
        with urllib.request.urlopen(f"http://127.0.0.1:{flower}/healthcheck", timeout=5) as answer:
            assert answer.read() == b"OK"
        assert set(re.findall(r"(\w+)\.1 ", process.output())) >= {"worker", "flower", "service"}
        assert len(marked.running()) >= 4, marked.running()
    finally:
        process.stop(grace=20)
    assert marked.gone_within(5), marked.running()
    # Honcho kills what does not stop by itself; nothing had to be.
    assert "SIGKILL" not in process.output()
