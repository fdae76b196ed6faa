"""A TCP relay as a child process, whose links can be reset."""

import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.dev.process import Process, ProcessError

__all__ = ["Relay"]

_ROOT = Path(__file__).resolve().parents[2]


class Relay:
    """`python -m tests.servers.relay_process`, listening when the constructor returns.

    Args:
        port: the server's.
        folder: takes the log.
    """

    def __init__(self, port: int, folder: Path) -> None:
        argv = [sys.executable, "-m", "tests.servers.relay_process", str(port)]
        self.process = Process("relay", argv, log=folder / f"relay-{port}.log", cwd=_ROOT)
        try:
            self.process.wait_until(lambda: self.process.output().endswith("\n"), timeout=30)
        except ProcessError:
            self.process.kill()
            raise
        self.port = int(self.process.output())

    def reset(self) -> None:
        """Reset every link there is."""
        self.process.signal(signal.SIGUSR1)

    def stop(self) -> None:
        """Stop it."""
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Relay {self.port} {self.process!r}>"
