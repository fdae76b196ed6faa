"""A gRPC service whose arrivals are in the ledger beside those over HTTP."""

import sys
from pathlib import Path

from gateway.dev.process import Process, ProcessError

__all__ = ["RpcLedger"]

_ROOT = Path(__file__).resolve().parents[2]


class RpcLedger:
    """`python -m tests.servers.rpc_ledger_process`, listening when the constructor returns.

    Args:
        folder: takes the logs and the descriptors.
        file: the ledger's.
        answer_s: how long an answer takes.
        grace_s: how long it lets run what runs when it is told to stop.
    """

    def __init__(self, folder: Path, file: Path, *, answer_s: float, grace_s: float) -> None:
        self.answer_s = answer_s
        self.grace_s = grace_s
        self._folder = folder
        self._file = file
        self._port = 0
        self.process = self._start()

    def _start(self) -> Process:
        number = len(list(self._folder.glob("rpc-ledger-*.log")))
        home = self._folder / f"rpc-ledger-{number}"
        home.mkdir()
        numbers = (str(self.answer_s), str(self.grace_s))
        argv = [sys.executable, "-m", "tests.servers.rpc_ledger_process", str(self._port), str(self._file), str(home)]
        log = self._folder / f"rpc-ledger-{number}.log"
        process = Process("rpc-ledger", [*argv, *numbers], log=log, cwd=_ROOT)
        try:
            process.wait_until(lambda: process.output().endswith("\n"), timeout=30)
        except ProcessError:
            process.kill()
            raise
        self._port = int(process.output().splitlines()[-1])
        return process

    @property
    def target(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self._port}"

    def restart(self) -> None:
        """Stop it as gRPC servers stop, and start another at its port."""
        self.process.stop(self.grace_s + 10.0)
        self.process = self._start()

    def stop(self) -> None:
        """Stop it at once."""
        self.process.kill()

    def __repr__(self) -> str:
        return f"<RpcLedger {self.target} {self.process!r}>"
