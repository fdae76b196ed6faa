"""A worker's own port: health with reasons, metrics for those who may read them, and nothing for anybody else."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import RestCall
from gateway.dev.valkey import Valkey
from tests.integration.pool_rig import eventually
from tests.observation.watched import Watched
from tests.servers.conduct import Conduct
from tests.servers.worker import Worker

CATALOGUE = """
[services.billing]
rest.url = "${COUNTING_URL}"
timeouts = { attempt = 10.0, total = 10.0 }
interceptors.before = ["tests.observation.blocking:block"]
"""
TOKEN = "a-token-for-metrics"


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path, CATALOGUE, GATEWAY_METRICS_TOKEN=TOKEN) as made:
        yield made


def test_metrics_need_the_token_and_health_does_not(watched: Watched) -> None:
    assert watched.get("/livez")[0] == watched.get("/readyz")[0] == 200
    assert watched.get("/metrics")[0] == 401
    for shown in ("Bearer wrong", "Bearer \xff", "Bearer", f"Basic {TOKEN}"):
        assert watched.get("/metrics", authorization=shown)[0] == 401
    status, text = watched.get("/metrics", authorization=f"Bearer {TOKEN}")
    assert status == 200
    assert "gateway_calls_in_flight" in text
    assert TOKEN not in text + watched.worker.output()
    assert watched.get("/")[0] == watched.get("/metrics/../etc")[0] == 404


def test_a_worker_that_drains_is_alive_and_not_ready(watched: Watched) -> None:
    watched.service.behave("/slow", Conduct(delay_s=2.0))
    pending = watched.gateway.submit(RestCall("billing", "GET", "/slow"), deadline=20.0)
    eventually(lambda: watched.service.arrivals("/slow"), "it is under way")
    watched.worker.warm_stop()
    eventually(lambda: watched.health("/readyz")[0] == 503, "it says at once that it stops", 1.5)
    assert "it is stopping" in watched.health("/readyz")[1][0]
    assert watched.health("/livez") == (200, [])
    assert pending.result(timeout=10).status == 200
    assert watched.worker.wait(15) == 0


def test_a_broker_that_is_away(watched: Watched) -> None:
    watched.valkey.process.signal(signal.SIGSTOP)
    try:
        eventually(lambda: watched.health("/readyz")[0] == 503, "it is not ready", 30)
        assert watched.health("/livez") == (200, [])
    finally:
        watched.valkey.process.signal(signal.SIGCONT)
    eventually(lambda: watched.health("/readyz") == (200, []), "it is ready again", 30)


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[tuple[Watched, Valkey]]:
    """A worker whose results are on another server than its broker, and that server."""
    (tmp_path / "results").mkdir()
    results = Valkey(tmp_path / "results")
    with Watched(tmp_path, CATALOGUE, GATEWAY_RESULT_URL=results.url(0)) as made:
        yield made, results
    results.stop()


def test_an_idle_worker_notices_that_the_result_store_is_away(apart: tuple[Watched, Valkey]) -> None:
    watched, results = apart
    results.process.signal(signal.SIGSTOP)
    try:
        eventually(lambda: watched.health("/readyz")[0] == 503, "it is not ready, though nobody calls", 15)
        assert "the result store does not answer" in watched.health("/readyz")[1]
        assert watched.health("/livez") == (200, [])
    finally:
        results.process.signal(signal.SIGCONT)
    eventually(lambda: watched.health("/readyz") == (200, []), "it is ready again", 15)


def test_a_broker_that_stalls_hides_no_metrics(apart: tuple[Watched, Valkey]) -> None:
    watched, _ = apart
    eventually(lambda: watched.values("gateway_fleet_up") == {(): 1.0}, "all is well")
    watched.valkey.process.signal(signal.SIGSTOP)
    try:
        # `get` waits for 5 s at most, less than any scraper.
        eventually(lambda: watched.values("gateway_fleet_up") == {(): 0.0}, "that is told", 30)
        assert watched.values("gateway_calls_in_flight")
    finally:
        watched.valkey.process.signal(signal.SIGCONT)
    eventually(lambda: watched.values("gateway_fleet_up") == {(): 1.0}, "all is well again", 30)


def test_a_loop_that_hangs(watched: Watched) -> None:
    watched.gateway.submit(RestCall("billing", "GET", "/blocks"), deadline=30.0)
    eventually(lambda: watched.health("/livez")[0] == 503, "it is found", 20)
    assert "the loop of the calls has not turned for 1" in watched.health("/livez")[1][0]
    assert watched.get("/metrics", authorization=f"Bearer {TOKEN}")[0] == 200, "what is counted can still be read"
    watched.worker.process.signal(signal.SIGKILL)


def test_a_port_that_was_named_and_is_taken(watched: Watched, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = {**watched.environ, "GATEWAY_WORKER_ADDRESS": f"127.0.0.1:{port}"}
        worker = Worker("workers.app", tmp_path, env=env, timeout=None)
        assert worker.wait(30) != 0
    said = worker.output()
    assert f"nothing can listen on 127.0.0.1:{port}" in said
    assert "name another port, 0 for any free one, or off" in said
    assert "Traceback" not in said


def test_a_wrong_address_and_an_open_port_do_not_start(watched: Watched, tmp_path: Path) -> None:
    for address, why in (("nonsense", "is no address"), ("0.0.0.0:0", "set GATEWAY_METRICS_TOKEN")):
        env = {**watched.environ, "GATEWAY_WORKER_ADDRESS": address, "GATEWAY_METRICS_TOKEN": ""}
        worker = Worker("workers.app", tmp_path, env=env, timeout=None)
        assert worker.wait(30) != 0
        assert why in worker.output()
        assert "Traceback" not in worker.output()
