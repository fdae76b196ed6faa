"""A counting gRPC service as a child process, and what it has seen."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from gateway.dev.process import Process, ProcessError

__all__ = ["CountingRpc", "RpcArrival"]

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcArrival:
    """An RPC that reached its handler.

    Attributes:
        at: when, on the machine's monotonic clock, in seconds.
        unix: the same as Unix time.
        method, case: what was asked.
        request_id, correlation_id, idempotency_key: its metadata; None where it had none.
        remaining_s: what its `grpc-timeout` left; None without one.
    """

    at: float
    unix: float
    method: str
    case: str
    request_id: str | None
    correlation_id: str | None
    idempotency_key: str | None
    remaining_s: float | None


class CountingRpc:
    """`python -m tests.servers.counting_rpc_process`, listening when the constructor returns.

    Args:
        folder: takes the log, the descriptors and the arrivals.
    """

    def __init__(self, folder: Path) -> None:
        argv = [sys.executable, "-m", "tests.servers.counting_rpc_process", str(folder)]
        self._arrivals = folder / "arrivals.jsonl"
        self.process = Process("counting-rpc", argv, log=folder / "counting-rpc.log", cwd=_ROOT)
        try:
            self.process.wait_until(lambda: self.process.output().endswith("\n"), timeout=30)
        except ProcessError:
            self.process.kill()
            raise
        self.target = f"127.0.0.1:{int(self.process.output().splitlines()[-1])}"
        self.descriptors = folder / "protos.binpb"

    def arrivals(self, case: str) -> list[RpcArrival]:
        """What arrived for one case, in order."""
        lines = self._arrivals.read_text().splitlines() if self._arrivals.exists() else []
        arrivals = [RpcArrival(**json.loads(line)) for line in lines]
        return [arrival for arrival in arrivals if arrival.case == case]

    def stop(self) -> None:
        """Stop it."""
        self.process.stop()

    def __repr__(self) -> str:
        return f"<CountingRpc {self.target} {self.process!r}>"
