"""Looks at the fleet again and again for whoever watches, and acts on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from gateway.broker import BROKER_ERRORS, close_app, make_app
from gateway.catalogue import Catalogue
from gateway.cli.glance import one_line
from gateway.errors import GatewayUnavailableError
from gateway.fleet import Fleet
from gateway.fleet_look import FleetLook
from gateway.fleet_view import FleetView
from gateway.settings import Settings

__all__ = ["FleetWatch", "Seen", "WorkerSeen"]

#: Seconds that workers have to answer, and for which their answers are good.
_ASKED_S, _FRESH_S = 0.7, 5.0


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker that answered.

    Attributes:
        name: as Celery has it.
        pid: of its process.
        in_flight: calls that it executes.
        places: how many it may.
    """

    name: str
    pid: int
    in_flight: int
    places: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One look.

    Attributes:
        view: what the fleet shares; None if nobody answered.
        unknown: why not.
        workers: those that answered, by name.
    """

    view: FleetView | None = None
    unknown: str = ""
    workers: Mapping[str, WorkerSeen] = field(default_factory=dict)


class FleetWatch:
    """Blocking; one thread at a time.

    Args:
        settings: where everything is.
        catalogue: the services.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._look = FleetLook(settings, catalogue.services)
        self._fleet = Fleet.open(settings.result_url)
        self._celery: Any = make_app(settings)
        self._workers: dict[str, WorkerSeen] = {}
        self._asked_at = float("-inf")

    def look(self, *, workers: bool = False) -> Seen:
        """Look. Never fails.

        Args:
            workers: ask them too, which takes most of a second; else their latest answers are told.
        """
        try:
            view = self._look()
        except Exception as error:  # of either server
            said = one_line(str(error)) or type(error).__name__
            return Seen(unknown=f"result store or broker does not answer ({said})", workers=self._workers)
        if workers and monotonic() - self._asked_at >= _FRESH_S:
            self._ask_workers()
        return Seen(view=view, workers=dict(self._workers))

    def _ask_workers(self) -> None:
        try:
            answers = self._celery.control.inspect(timeout=_ASKED_S).stats() or {}
        except BROKER_ERRORS:
            answers = {}
        self._asked_at = monotonic()
        self._workers = {name: _worker(name, stats) for name, stats in sorted(answers.items())}

    def open_breaker(self, service: str, by: str) -> None:
        """See `Fleet.open_breaker`."""
        self._fleet.open_breaker(service, by=by, reason="by hand, in gateway top")

    def close_breaker(self, service: str, by: str) -> None:
        """See `Fleet.close_breaker`."""
        self._fleet.close_breaker(service, by=by)

    def reset_breaker(self, service: str) -> None:
        """See `Fleet.reset_breaker`."""
        self._fleet.reset_breaker(service)

    def pause(self, service: str, by: str) -> None:
        """See `Fleet.pause`."""
        self._fleet.pause(service, by=by, reason="by hand, in gateway top")

    def resume(self, service: str, by: str) -> None:
        """See `Fleet.resume`."""
        self._fleet.resume(service, by=by)

    def drain(self, worker: str) -> None:
        """Have a worker finish what it has, give the rest back, and end.

        Raises:
            GatewayUnavailableError: the broker does not take the message.
        """
        try:
            self._celery.control.shutdown(destination=[worker])
        except BROKER_ERRORS as error:
            raise GatewayUnavailableError(f"the broker does not answer ({type(error).__name__})") from None
        self._asked_at = float("-inf")

    def close(self) -> None:
        """Give the connections back."""
        self._look.close()
        self._fleet.__exit__()
        close_app(self._celery)


def _worker(name: str, stats: Mapping[str, Any]) -> WorkerSeen:
    pool: Mapping[str, Any] = stats.get("pool") or {}
    return WorkerSeen(
        name=name,
        pid=int(stats.get("pid") or 0),
        in_flight=int(pool.get("in-flight") or 0),
        places=int(pool.get("max-concurrency") or 0),
    )
