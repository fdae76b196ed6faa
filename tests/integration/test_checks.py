"""What is checked before a worker connects, each fault brought about on a real server."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway import Catalogue, Settings
from gateway.checks import Finding, Level, check_all, check_worker
from gateway.dev.process import Process, free_port
from gateway.dev.valkey import Valkey, find_server
from gateway.envelope import MAX_DEADLINE_S
from gateway.pending import RESULT_MARGIN_S

CATALOGUE = Catalogue.parse({"services": {"users": {"rest": {"url": "http://users"}, "timeouts": {"total": 10.0}}}})


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server as it should be; a test that changes its configuration uses `configured`."""
    server = Valkey(tmp_path_factory.mktemp("safe"), append_only=True)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A second one."""
    server = Valkey(tmp_path_factory.mktemp("other"), append_only=True)
    yield server
    server.stop()


class Configured:
    """Changes a server's configuration for one test."""

    def __init__(self, server: Valkey) -> None:
        self._client: Any = redis.Redis.from_url(server.url(), decode_responses=True)
        self._before: dict[str, str] = {}

    def __call__(self, **values: str) -> None:
        for name, value in values.items():
            key = name.replace("_", "-")
            self._before.setdefault(key, self._client.config_get(key)[key])
            self._client.config_set(key, value)

    def restore(self) -> None:
        for key, value in self._before.items():
            self._client.config_set(key, value)
        self._client.close()


@pytest.fixture
def configured(safe: Valkey) -> Iterator[Configured]:
    made = Configured(safe)
    yield made
    made.restore()


def worker(broker: str, results: str | None = None, **options: Any) -> list[Finding]:
    """What a worker is told."""
    settings = Settings(broker_url=broker, result_url=results or broker)
    environ = options.pop("environ", {})
    return check_worker(settings, CATALOGUE, environ, **{"patience_s": 0.0, **options})


def bad(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level is not Level.OK]


def test_a_sound_installation_is_told_from_the_others_at_once(safe: Valkey, other: Valkey) -> None:
    began = time.monotonic()
    findings = worker(safe.url(0), other.url(0))
    assert time.monotonic() - began < 2
    assert [(finding.level, finding.what) for finding in findings] == [
        (Level.OK, "broker"),
        (Level.OK, "result store"),
    ]
    (both,) = worker(safe.url(0))
    assert both.what == "broker and result store"
    assert both.found.endswith(" answers, and evicts nothing")


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_throws_away_what_it_has(
    safe: Valkey, other: Valkey, configured: Configured, policy: str
) -> None:
    configured(maxmemory_policy=policy)
    for place, urls in (("broker", (safe.url(0), other.url(0))), ("result store", (other.url(0), safe.url(0)))):
        (error,) = bad(worker(*urls))
        assert (error.level, error.what) == (Level.ERROR, place)
        assert error.found.startswith(f"maxmemory-policy is {policy}: ")
        assert error.cure == "set maxmemory-policy to noeviction, or GATEWAY_ALLOW_EVICTION=1 to take the loss"
        (allowed,) = bad(worker(*urls, environ={"GATEWAY_ALLOW_EVICTION": "1"}))
        assert allowed.level is Level.WARNING
    # Two databases of one server share its configuration.
    assert len(bad(worker(safe.url(0), safe.url(1)))) == 1


def test_a_server_that_keeps_nothing(safe: Valkey, configured: Configured) -> None:
    configured(appendonly="no")
    (finding,) = bad(worker(safe.url()))
    assert (finding.level, finding.cure) == (Level.WARNING, "set appendonly yes")
    assert finding.found.startswith("it keeps nothing over a restart")
    configured(save="3600 1 300 100")
    (finding,) = bad(worker(safe.url()))
    assert (finding.level, finding.cure) == (Level.WARNING, "set appendonly yes")
    assert "it keeps snapshots alone (save 3600 1 300 100)" in finding.found


def test_a_hosted_server_that_keeps_its_configuration_to_itself(safe: Valkey, configured: Configured) -> None:
    configured(appendonly="no")
    with redis.Redis.from_url(safe.url()) as client:
        client.execute_command("ACL", "SETUSER", "tenant", "on", ">secret", "~*", "&*", "+@all", "-config")
        try:
            (finding,) = bad(worker(safe.url().replace("://", "://tenant:secret@")))
        finally:
            client.execute_command("ACL", "DELUSER", "tenant")
    assert (finding.level, finding.found) == (
        Level.WARNING,
        "it does not tell whether it keeps its data over a restart",
    )
    assert "append-only files are on" in finding.cure


def test_a_disk_that_takes_nothing_more(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    server = Valkey(folder, append_only=True)
    try:
        folder.rename(tmp_path / "away")
        shutil.rmtree(tmp_path / "away")
        with redis.Redis.from_url(server.url()) as client:
            client.bgsave()
            ends_at = time.monotonic() + 10
            while _info(client, "rdb_last_bgsave_status") != "err":
                assert time.monotonic() < ends_at
                time.sleep(0.02)
        (finding,) = bad(worker(server.url()))
        assert (finding.level, finding.cure) == (Level.ERROR, "see its log; often the disk is full")
        assert "its last write to the disk failed (rdb)" in finding.found
    finally:
        server.process.kill()


def _info(client: Any, name: str) -> Any:
    return client.info()[name]


def test_a_server_that_is_nearly_full(safe: Valkey, configured: Configured) -> None:
    with redis.Redis.from_url(safe.url()) as client:
        used: Any = _info(client, "used_memory")
    configured(maxmemory=str(used + 2**20))
    if used + 2**20 > used / 0.9:
        configured(maxmemory=str(int(used * 1.05)))
    (finding,) = bad(worker(safe.url()))
    assert finding.level is Level.WARNING
    assert "% of its maxmemory of " in finding.found
    assert finding.cure.startswith("raise maxmemory")


def test_a_server_that_is_not_there(safe: Valkey) -> None:
    nowhere = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    for place, variable, urls in (
        ("broker", "GATEWAY_BROKER_URL", (nowhere, safe.url())),
        ("result store", "GATEWAY_RESULT_URL", (safe.url(), nowhere)),
    ):
        (error,) = bad(worker(*urls))
        assert (error.level, error.what) == (Level.ERROR, place)
        assert error.found.startswith("does not answer (ConnectionError: ")
        assert error.cure == f"start it, or correct {variable}"
        assert "hunter2" not in str(error)


def test_of_a_list_of_brokers_one_is_enough(safe: Valkey, other: Valkey) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    assert not bad(worker(f"{nowhere};{safe.url()}", other.url()))


def test_a_server_that_comes_a_little_later(tmp_path: Path) -> None:
    server = Valkey(tmp_path, append_only=True)
    server.process.stop()
    argv = ["sh", "-c", f"sleep 1; exec {find_server()} --bind 127.0.0.1 --port {server.port} --dir {tmp_path}"]
    late = Process("late", [*argv[:2], argv[2] + " --appendonly yes"], log=tmp_path / "late.log")
    try:
        assert not bad(worker(server.url(), patience_s=4.0))
    finally:
        late.stop()


@pytest.mark.parametrize("takes_connections", [True, False])
def test_a_server_that_hangs_holds_nobody_up(safe: Valkey, takes_connections: bool) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        # Of a backlog that is full nothing comes back, as through a firewall that drops what it gets.
        fill = [] if takes_connections else [socket.socket() for _ in range(3)]
        for probe in fill:
            probe.setblocking(False)
            probe.connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        (error,) = bad(worker(f"redis://127.0.0.1:{port}/0", safe.url(), patience_s=3.0))
        assert time.monotonic() - began < 5.5
        for probe in fill:
            probe.close()
    assert (error.level, error.what) == (Level.ERROR, "broker")
    assert "does not answer (TimeoutError" in error.found


def test_a_wrong_password(safe: Valkey) -> None:
    (error,) = bad(worker(safe.url().replace("://", "://somebody:hunter2@")))
    assert error.level is Level.ERROR
    assert error.found.startswith("refuses the login")
    assert error.cure == "correct user and password in GATEWAY_BROKER_URL"
    assert "hunter2" not in str(error)


def test_a_server_that_still_loads(tmp_path: Path) -> None:
    server = Valkey(tmp_path, append_only=True)
    with redis.Redis.from_url(server.url()) as client, client.pipeline(transaction=False) as pipe:
        for number in range(30_000):
            pipe.set(f"key-{number}", "x")
        pipe.execute()
    server.process.stop()
    # 0.2 ms for each key; it looks for clients after each thousand.
    argv = [find_server(), "--bind", "127.0.0.1", "--port", str(server.port), "--dir", str(tmp_path)]
    argv += ["--appendonly", "yes", "--key-load-delay", "200"]
    slow = Process("slow", argv, log=tmp_path / "slow.log")
    try:
        slow.wait_until(lambda: _is_listening(server.port), timeout=10)
        (error,) = bad(worker(server.url()))
        assert (error.found, error.cure) == ("still reads its data from the disk", "wait until it has")
    finally:
        slow.kill()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("ahead_s", "said"), [(0.0, None), (-90.0, "90.0 s behind"), (90.0, "90.0 s ahead of")])
def test_a_clock_that_is_off(safe: Valkey, ahead_s: float, said: str | None) -> None:
    settings = Settings(broker_url=safe.url(), result_url=safe.url())
    findings = [
        finding for finding in check_all(settings, {}, wall=lambda: time.time() + ahead_s) if finding.what == "clock"
    ]
    assert len(findings) == (said is not None)
    for finding in findings:
        assert said is not None
        assert said in finding.found
        assert (finding.level, finding.cure) == (Level.WARNING, "set both by NTP")


def test_results_that_expire_too_early(safe: Valkey) -> None:
    longest_s = MAX_DEADLINE_S + RESULT_MARGIN_S
    (error,) = bad(worker(safe.url(), result_expires_s=longest_s))
    assert (error.level, error.what) == (Level.ERROR, "result expiry")
    assert error.cure == f"set result_expires to more than {longest_s:g}"
    assert not bad(worker(safe.url(), result_expires_s=longest_s + 1))
    assert not bad(worker(safe.url(), result_expires_s=0)), "Celery keeps them for ever"


def test_a_visibility_timeout_that_runs_calls_twice(safe: Valkey) -> None:
    (error,) = bad(worker(safe.url(), visibility_timeout_s=10.0))
    assert (error.level, error.what) == (Level.ERROR, "visibility timeout")
    assert error.found == "it is 10 s, and a call may take 10 s (timeouts.total)"
    assert error.cure == "set visibility_timeout to more than 10, or lower timeouts.total"
    assert not bad(worker(safe.url(), visibility_timeout_s=10.1))


def test_every_finding_that_is_not_well_has_a_cure(safe: Valkey, other: Valkey, configured: Configured) -> None:
    configured(maxmemory_policy="allkeys-random", appendonly="no", maxmemory="1mb")
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    found = [
        *bad(worker(safe.url(), nowhere, result_expires_s=1.0, visibility_timeout_s=1.0)),
        *bad(worker(other.url().replace("://", "://a:b@"))),
    ]
    assert len(found) == 7
    assert all(finding.cure for finding in found)
    assert str(found[0]) == f"{found[0].what}: {found[0].found}; {found[0].cure}"


def start(environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-c", "1"],
        env={**os.environ, **environment},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_worker_refuses_to_start_with_what_would_lose_calls(
    safe: Valkey, configured: Configured, tmp_path: Path
) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[services.users]\nrest.url = "http://127.0.0.1:1"\n')
    environment = {"GATEWAY_BROKER_URL": safe.url(5), "GATEWAY_RESULT_URL": safe.url(6), "GATEWAY_CONFIG": str(config)}
    configured(maxmemory_policy="allkeys-lru")
    done = start(environment, tmp_path)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("gateway: ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("gateway: broker: maxmemory-policy is allkeys-lru")
    assert "Traceback" not in done.stderr
    # Allowed, it starts, and says so.
    log = tmp_path / "worker.log"
    allowed = Process(
        "worker",
        [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-c", "1", "-l", "INFO"],
        log=log,
        env={**os.environ, **environment, "GATEWAY_ALLOW_EVICTION": "1"},
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        allowed.wait_until(lambda: " ready" in allowed.output(), timeout=30)
        assert "broker: maxmemory-policy is allkeys-lru" in allowed.output()
    finally:
        allowed.stop()
