"""A Celery worker in a process of its own."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.dev.process import Process

__all__ = ["Worker"]

_ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """`python -m celery -A <app> worker …`, awaited until it is ready.

    Args:
        app: import path of the app.
        folder: takes the log, one file for each worker.
        queues: what it listens on; the app's own by default.
        concurrency: calls at once.
        env: what the app reads, beside this process's environment.
        arguments: more of the command line.
        timeout: seconds until it must be ready; None: do not wait.
    """

    def __init__(
        self,
        app: str,
        folder: Path,
        *,
        queues: Sequence[str] = (),
        concurrency: int = 100,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        timeout: float | None = 30.0,
    ) -> None:
        number = len(list(folder.glob("worker-*.log")))
        self.name = f"worker{number}@test"
        argv = [
            *(sys.executable, "-m", "celery", "-A", app, "worker"),
            *("--loglevel", "INFO", "--concurrency", str(concurrency), "--hostname", self.name),
            *("--without-gossip", "--without-mingle"),
            *(("--queues", ",".join(queues)) if queues else ()),
            *arguments,
        ]
        self.process = Process(
            self.name, argv, log=folder / f"worker-{number}.log", env={**os.environ, **(env or {})}, cwd=_ROOT
        )
        if timeout is not None:
            self.process.wait_until(lambda: f"{self.name} ready." in self.output(), timeout=timeout)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """None as long as it runs."""
        return self.process.exit_code

    def output(self) -> str:
        """All that it logged so far."""
        return self.process.output()

    def warm_stop(self) -> None:
        """SIGTERM: it sees its calls through."""
        self.process.signal(signal.SIGTERM)

    def cold_stop(self) -> None:
        """SIGQUIT: it drops its calls."""
        self.process.signal(signal.SIGQUIT)

    def wait(self, timeout: float) -> int:
        """Wait until it ends; its exit code."""
        return self.process.wait(timeout)

    def stop(self, grace: float = 15.0) -> int:
        """SIGTERM, and SIGKILL after `grace` seconds."""
        return self.process.stop(grace)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
