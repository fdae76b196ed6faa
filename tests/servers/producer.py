"""A producer in a process of its own, to which things can be done that would harm the test's."""

import os
import pickle
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.dev.process import Process
from gateway.settings import Settings

if TYPE_CHECKING:
    from tests.faults.matrix.traffic import Made

__all__ = ["Producer"]

_ROOT = Path(__file__).resolve().parents[2]


class Producer:
    """`python -m tests.servers.producer_process`; calls flow when the constructor returns.

    Args:
        folder: takes the log, and what it was told.
        settings: where broker and results are.
        below: where its paths begin.
        rate: calls a second.
        deadline_s: of each.
        environment: more of it.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        below: str,
        rate: float,
        deadline_s: float,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._told = folder / "producer-told.pickle"
        argv = [sys.executable, "-m", "tests.servers.producer_process", str(self._told), below]
        own = {
            "GATEWAY_BROKER_URL": settings.broker_url,
            "GATEWAY_RESULT_URL": settings.result_url,
            "GATEWAY_CONFIG": str(settings.config),
        }
        self.process = Process(
            "producer",
            [*argv, str(rate), str(deadline_s)],
            log=folder / "producer.log",
            env={**os.environ, **own, **(environment or {})},
            cwd=_ROOT,
        )
        self.process.wait_until(lambda: "calls flow" in self.process.output(), timeout=30)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def finish(self, timeout: float) -> "list[Made]":
        """Let it submit no more, and wait until it has all outcomes; its calls, and what it was told."""
        self.process.signal(signal.SIGTERM)
        code = self.process.wait(timeout)
        assert code == 0, f"the producer ended with {code}:\n{self.process.tail()}"
        made: list[Made] = pickle.loads(self._told.read_bytes())
        return made

    def stop(self) -> None:
        """End it at once."""
        self.process.kill()

    def __repr__(self) -> str:
        return f"<Producer {self.process!r}>"
