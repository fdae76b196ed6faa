"""A child process: started, awaited until it is ready, and stopped by its process id."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.dev.guard import Guard

__all__ = ["Process", "ProcessError", "free_port", "is_listening"]


class ProcessError(RuntimeError):
    """A child process did not become ready, or ended too soon; has the end of what it wrote."""


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts TCP connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


class Process:
    """A child process in a session of its own, so that a Ctrl-C in the terminal reaches the parent alone.

    Args:
        name: for people.
        argv: the program and its arguments.
        log: file that takes what it writes.
        env: its environment; the parent's by default.
        cwd: its folder.
        guard: ends it, should the parent be killed.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._guard = guard
        with log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - argv is the caller's, no shell
                list(argv),
                env=dict(os.environ if env is None else env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if guard is not None:
            guard.watch(self._popen.pid)

    @property
    def pid(self) -> int:
        """Its process id, also that of its process group."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None as long as it runs."""
        return self._popen.poll()

    def wait_until(self, ready: Callable[[], bool], *, timeout: float) -> Self:
        """Wait for a condition, asked every 50 ms.

        Raises:
            ProcessError: it ended, or the condition did not hold within `timeout` seconds.
        """
        ends = time.monotonic() + timeout
        while not ready():
            if self.exit_code is not None:
                raise ProcessError(f"{self.name} ended with exit code {self.exit_code}:\n{self.tail()}")
            if time.monotonic() > ends:
                raise ProcessError(f"{self.name} is not ready after {timeout:g} s:\n{self.tail()}")
            time.sleep(0.05)
        return self

    def tail(self, lines: int = 40) -> str:
        """The end of what it wrote."""
        return "\n".join(self.output().splitlines()[-lines:])

    def output(self) -> str:
        """All that it wrote so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        self._popen.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Wait until it ends, `timeout` seconds at most.

        Raises:
            subprocess.TimeoutExpired: it did not.
        """
        return self._popen.wait(timeout)

    def stop(self, grace: float = 10.0) -> int:
        """End it: SIGTERM, and SIGKILL to its process group if it is still there after `grace` seconds."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(grace)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._ended()

    def kill(self) -> None:
        """End it and its children at once."""
        if self._popen.poll() is None:
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._ended()

    def _ended(self) -> int:
        code = self._popen.wait()
        if self._guard is not None:
            self._guard.release(self._popen.pid)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.exit_code is None else f"ended with {self.exit_code}"
        return f"<Process {self.name} pid {self.pid} {state}>"
