"""The workers of the fleet, as they answer over the broker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.broker import BROKER_ERRORS
from gateway.errors import GatewayUnavailableError

__all__ = ["WorkerControl", "WorkerSeen"]


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker that answered.

    Attributes:
        name: as Celery has it.
        pid: of its process.
        in_flight: calls that it executes.
        places: how many it may.
        waiting: calls that it has taken, and that have no place yet.
        up_s: seconds since it started.
    """

    name: str
    pid: int
    in_flight: int
    places: int
    waiting: int = 0
    up_s: float = 0.0


class WorkerControl:
    """Asks them. Blocking.

    Args:
        celery: the app of the broker.
    """

    def __init__(self, celery: Any) -> None:
        self._celery = celery

    def ask(self, within_s: float) -> dict[str, WorkerSeen]:
        """Those that answer in this time, by name, in order; it takes all of it.

        Raises:
            GatewayUnavailableError: the broker does not answer.
        """
        try:
            answers = self._celery.control.inspect(timeout=within_s).stats() or {}
        except BROKER_ERRORS as error:
            raise GatewayUnavailableError(f"the broker does not answer ({type(error).__name__})") from None
        return {name: _worker(name, stats) for name, stats in sorted(answers.items())}

    def drain(self, worker: str) -> None:
        """Have a worker finish what it has, give the rest back, and end.

        Raises:
            GatewayUnavailableError: the broker does not take the message.
        """
        try:
            self._celery.control.shutdown(destination=[worker])
        except BROKER_ERRORS as error:
            raise GatewayUnavailableError(f"the broker does not answer ({type(error).__name__})") from None


def _worker(name: str, stats: Mapping[str, Any]) -> WorkerSeen:
    pool: Mapping[str, Any] = stats.get("pool") or {}
    return WorkerSeen(
        name=name,
        pid=int(stats.get("pid") or 0),
        in_flight=int(pool.get("in-flight") or 0),
        places=int(pool.get("max-concurrency") or 0),
        waiting=int(pool.get("waiting") or 0),
        up_s=float(stats.get("uptime") or 0.0),
    )
