"""A counting HTTP service as a child process, and what it has seen."""

import http.client
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.dev.process import Process, ProcessError
from tests.servers.conduct import Conduct

__all__ = ["Arrival", "CountingService"]

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request that the service has read.

    Attributes:
        at: when, on the machine's monotonic clock, in seconds.
        method, path: what was asked.
        request_id, correlation_id, idempotency_key, traceparent: its headers; None where it had none.
        peer: port of the connection's other end.
        status: of the answer that it gets; 0: it gets none.
        ended: when it was answered, or when its connection was gone; None: neither yet.
    """

    at: float
    method: str
    path: str
    request_id: str | None
    correlation_id: str | None
    idempotency_key: str | None
    traceparent: str | None
    peer: int
    status: int
    ended: float | None


class CountingService:
    """`python -m tests.servers.counting_process`, listening when the constructor returns.

    Args:
        folder: takes the log.
        port: a free one by default.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        argv = [sys.executable, "-m", "tests.servers.counting_process", str(port)]
        number = len(list(folder.glob("counting-*.log")))
        self.process = Process("counting-service", argv, log=folder / f"counting-{number}.log", cwd=_ROOT)
        try:
            self.process.wait_until(lambda: self.process.output().endswith("\n"), timeout=30)
        except ProcessError:
            self.process.kill()
            raise
        self.port = int(self.process.output())

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def behave(self, path: str, conduct: Conduct) -> None:
        """From now on `path`, and all below it, behave like this, and their arrivals are numbered from 1 again."""
        fields = {name: value for name, value in asdict(conduct).items() if value != float("inf")}
        self._ask("PUT", f"conduct{path}", json.dumps(fields))

    def arrivals(self, path: str) -> list[Arrival]:
        """What arrived at `path` and below it, in order."""
        return [Arrival(**arrival) for arrival in self._ask("GET", f"arrivals{path}")]

    def stop(self) -> None:
        """Stop it."""
        self.process.stop()

    def _ask(self, method: str, what: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, f"/_/{what}", body)
            response = connection.getresponse()
            said = json.loads(response.read())
            if response.status != 200:
                raise RuntimeError(f"the counting service does not know {method} {what}")
            return said
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<CountingService {self.url} {self.process!r}>"
