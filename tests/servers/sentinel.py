"""A Redis that is watched: a master, a replica and three Sentinels, all real, on free loopback ports."""

import shutil
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from gateway.dev.process import Process, free_port
from gateway.dev.valkey import find_server

__all__ = ["Watched"]

MASTER = "the-master"


class Watched:
    """Two servers, one of them the master, and who decides which.

    Args:
        folder: takes their logs, data and configurations.
        password: of the servers; None: they need none.
        sentinel_password: of the Sentinels.
    """

    def __init__(self, folder: Path, *, password: str | None = None, sentinel_password: str | None = None) -> None:
        self._folder = folder
        self._password = password
        self._sentinel_password = sentinel_password
        self.ports = [free_port(), free_port()]
        self.sentinel_ports = [free_port() for _ in range(3)]
        self.servers: dict[int, Process] = {}
        self._sentinels: list[Process] = []
        try:
            for port in self.ports:
                self.servers[port] = self._server(port, self.ports[0])
            for port in self.sentinel_ports:
                self._sentinels.append(self._sentinel(port))
            self._wait_until_safe()
        except BaseException:
            self.stop()
            raise

    def url(self, database: int = 0, *, extra: str = "") -> str:
        """As an operator writes it; the first Sentinel of the list is not there."""
        secret = f":{self._password}@" if self._password else ""
        own = f"&sentinel_password={self._sentinel_password}" if self._sentinel_password else ""
        ports = [free_port(), *self.sentinel_ports]
        return (
            ";".join(f"sentinel://{secret}127.0.0.1:{port}/{database}" for port in ports)
            + f"?master_name={MASTER}{own}{extra}"
        )

    @property
    def master_port(self) -> int:
        """Of the server that the Sentinels name."""
        with redis.Redis(port=self.sentinel_ports[0], password=self._sentinel_password) as client:
            return int(client.execute_command("SENTINEL", "get-master-addr-by-name", MASTER)[1])

    def kill_master(self) -> int:
        """End the master at once; its port."""
        port = self.master_port
        self.servers[port].kill()
        return port

    def _server(self, port: int, master_port: int) -> Process:
        folder = self._folder / str(port)
        folder.mkdir()
        argv = [
            find_server(),
            *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
            *("--save", "", "--appendonly", "yes", "--repl-diskless-sync-delay", "0"),
        ]
        if port != master_port:
            argv += ["--replicaof", f"127.0.0.1 {master_port}"]
        if self._password:
            argv += ["--requirepass", self._password, "--masterauth", self._password]
        return Process("redis", argv, log=folder / "log").wait_until(lambda: _answers(port), timeout=20)

    def _sentinel(self, port: int) -> Process:
        config = self._folder / f"sentinel-{port}.conf"
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {self._folder}",
            f"sentinel monitor {MASTER} 127.0.0.1 {self.ports[0]} 2",
            f"sentinel down-after-milliseconds {MASTER} 500",
            f"sentinel failover-timeout {MASTER} 3000",
        ]
        if self._password:
            lines.append(f'sentinel auth-pass {MASTER} "{self._password}"')
        if self._sentinel_password:
            lines += [f"requirepass {self._sentinel_password}", f"sentinel sentinel-pass {self._sentinel_password}"]
        config.write_text("\n".join(lines) + "\n")
        server = shutil.which("redis-server") or find_server()
        argv = [server, str(config), "--sentinel"]
        process = Process("sentinel", argv, log=self._folder / f"sentinel-{port}.log")
        return process.wait_until(lambda: _answers(port), timeout=20)

    def _wait_until_safe(self) -> None:
        """Until every Sentinel knows the replica and the others: before that none would do anything."""

        def know() -> bool:
            for port in self.sentinel_ports:
                with redis.Redis(port=port, password=self._sentinel_password, decode_responses=True) as client:
                    facts: Any = client.sentinel_master(MASTER)
                    if (facts["num-slaves"], facts["num-other-sentinels"]) != (1, 2):
                        return False
                    replicas: Any = client.sentinel_slaves(MASTER)
                    if replicas[0]["master-link-status"] != "ok":
                        return False
            return True

        self._sentinels[0].wait_until(know, timeout=30)

    def stop(self) -> None:
        """Stop all of it."""
        for process in (*self._sentinels, *self.servers.values()):
            process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as probe:
            probe.sendall(b"PING\r\n")
            return probe.recv(16)[:1] in (b"+", b"-")
    except OSError:
        return False
