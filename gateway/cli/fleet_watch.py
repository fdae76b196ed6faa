"""Looks at the fleet again and again for whoever watches, and acts on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from gateway.broker import close_app, make_app
from gateway.catalogue import Catalogue
from gateway.cli.glance import one_line
from gateway.errors import GatewayUnavailableError
from gateway.fleet import Fleet
from gateway.fleet_look import FleetLook
from gateway.fleet_view import FleetView
from gateway.pace import Pace, RecentPace
from gateway.redis_client import open_sync
from gateway.settings import Settings
from gateway.worker_control import WorkerControl, WorkerSeen

__all__ = ["FleetWatch", "Seen"]

#: Seconds that workers have to answer, and for which their answers are good.
_ASKED_S, _FRESH_S = 0.7, 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One look.

    Attributes:
        view: what the fleet shares; None if nobody answered.
        unknown: why not.
        workers: those that answered, by name.
        pace: of the services of which calls ended in the last seconds.
    """

    view: FleetView | None = None
    unknown: str = ""
    workers: Mapping[str, WorkerSeen] = field(default_factory=dict)
    pace: Mapping[str, Pace] = field(default_factory=dict)


class FleetWatch:
    """Blocking; one thread at a time.

    Args:
        settings: where everything is.
        catalogue: the services.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._look = FleetLook(settings, catalogue.services)
        self._fleet = Fleet.open(settings.result_url)
        self._history = open_sync(settings.result_url)
        self._pace = RecentPace(self._history)
        self._celery: Any = make_app(settings)
        self._control = WorkerControl(self._celery)
        self._workers: dict[str, WorkerSeen] = {}
        self._asked_at = float("-inf")

    def look(self, *, workers: bool = False) -> Seen:
        """Look. Never fails.

        Args:
            workers: ask them too, which takes most of a second; else their latest answers are told.
        """
        try:
            view, pace = self._look(), self._pace()
        except Exception as error:  # of either server
            said = one_line(str(error)) or type(error).__name__
            return Seen(unknown=f"result store or broker does not answer ({said})", workers=self._workers)
        if workers and monotonic() - self._asked_at >= _FRESH_S:
            self._ask_workers()
        return Seen(view=view, workers=dict(self._workers), pace=pace)

    def _ask_workers(self) -> None:
        try:
            self._workers = self._control.ask(_ASKED_S)
        except GatewayUnavailableError:
            self._workers = {}
        self._asked_at = monotonic()

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
        """See `WorkerControl.drain`."""
        self._control.drain(worker)
        self._asked_at = float("-inf")

    def close(self) -> None:
        """Give the connections back."""
        self._look.close()
        self._fleet.__exit__()
        self._history.close()
        close_app(self._celery)
