"""The ledger at the upstream: which requests arrived, whatever anybody was told about them."""

import http.client
import json
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.dev.process import Process, ProcessError
from tests.servers.conduct import Conduct

__all__ = ["Entry", "Ledger"]

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A request that arrived.

    Attributes:
        at: when, on the machine's monotonic clock, in seconds.
        method, path: what was asked.
        request_id: of the attempt.
        correlation_id: of the call.
        idempotency_key: "None" where it had none.
    """

    at: float
    method: str
    path: str
    request_id: str
    correlation_id: str
    idempotency_key: str


class Ledger:
    """`python -m tests.servers.ledger_process`, listening when the constructor returns.

    Args:
        folder: takes the log, and the file with the arrivals.
        port: a free one by default.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.file = folder / "arrivals.txt"
        self.file.touch()
        self._folder = folder
        self.port = port
        self.process = self._start()

    def _start(self) -> Process:
        argv = [sys.executable, "-m", "tests.servers.ledger_process", str(self.port), str(self.file)]
        log = self._folder / f"ledger-{len(list(self._folder.glob('ledger-*.log')))}.log"
        process = Process("ledger", argv, log=log, cwd=_ROOT)
        try:
            process.wait_until(lambda: process.output().endswith("\n"), timeout=30)
        except ProcessError:
            process.kill()
            raise
        self.port = int(process.output())
        return process

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def behave(self, path: str, conduct: Conduct) -> None:
        """From now on `path`, and all below it, behave like this."""
        fields = {name: value for name, value in asdict(conduct).items() if value != float("inf")}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("PUT", f"/_/conduct{path}", json.dumps(fields))
            assert connection.getresponse().status == 200
        finally:
            connection.close()

    def entries(self, below: str = "/") -> list[Entry]:
        """What arrived at paths that begin so, in order."""
        entries = []
        for line in self.file.read_text().splitlines():
            at, method, path, request_id, correlation_id, key = line.split(" ")
            if path.startswith(below):
                entries.append(
                    Entry(
                        at=float(at),
                        method=method,
                        path=path,
                        request_id=request_id,
                        correlation_id=correlation_id,
                        idempotency_key=key,
                    )
                )
        return entries

    def by_path(self, below: str = "/") -> dict[str, list[Entry]]:
        """What arrived at each path that begins so."""
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries(below):
            found[entry.path].append(entry)
        return found

    def restart(self) -> None:
        """Start it again at its port after it was stopped; the arrivals stay, what paths were told does not."""
        self.process.stop()
        self.process = self._start()

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
        return f"<Ledger {self.url} {self.process!r}>"
