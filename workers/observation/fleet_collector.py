"""What the whole fleet shares, as any worker that is scraped tells it: take the maximum over workers, not the sum."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from time import monotonic

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.fleet_view import FleetView
from gateway.policy import Policy

__all__ = ["FleetCollector"]

_log = logging.getLogger("gateway.metrics")

#: Seconds for which a look is good: several scrapers, or a scrape each second, ask the broker no more often.
_FRESH_S = 5.0
#: Seconds that a scrape waits for a look: less than scrapers wait for the worker's own figures, which come with it.
_PATIENCE_S = 2.0


class FleetCollector(Collector):
    """Any thread may collect; one look serves all.

    Args:
        look: asks result store and broker, within a bounded time; raises if they do not answer.
        policies: of the services.
    """

    def __init__(self, look: Callable[[], FleetView], policies: Mapping[str, Policy]) -> None:
        self._look = look
        self._policies = policies
        self._lock = threading.Lock()
        self._view: FleetView | None = None
        self._looked_at = float("-inf")
        #: The look that is under way; a server that stalls keeps it for longer than anybody waits.
        self._look_thread: threading.Thread | None = None

    def collect(self) -> Iterator[Metric]:
        """What was found within the last seconds."""
        view = self._fresh()
        yield GaugeMetricFamily(
            "gateway_fleet_up", "1 if result store and broker answered this worker.", value=int(view is not None)
        )
        if view is None:
            return
        by_service = {
            "gateway_fleet_in_flight": "Attempts of all workers at the service.",
            "gateway_fleet_concurrency_limit": "How many may be there.",
            "gateway_fleet_parked_calls": "Calls that wait outside of the workers.",
            "gateway_fleet_retry_budget": "Retries that may be made now.",
            "gateway_fleet_breaker_state": "0 closed, 1 half-open, 2 open, as the fleet has it.",
            "gateway_fleet_paused": "1 if it is paused.",
            "gateway_fleet_breaker_trips": "How often the breaker opened, since it was reset.",
        }
        families = {name: GaugeMetricFamily(name, what, labels=("service",)) for name, what in by_service.items()}
        for name, state in view.states.items():
            policy = self._policies[name]
            found = (
                state.limit.in_flight,
                state.limit.concurrency(policy.limit),
                state.parked,
                state.budget.tokens_at(state.now, policy.retry),
                {"half-open": 1, "open": 2}.get(state.breaker.phase, 0),
                int(state.pause is not None),
                state.breaker.trips,
            )
            for family, value in zip(families.values(), found, strict=True):
                family.add_metric((name,), value)
        yield from families.values()
        queued = GaugeMetricFamily("gateway_fleet_queued_calls", "Calls that no worker has taken.", labels=("service",))
        for name, count in view.queued.items():
            queued.add_metric((name,), count)
        oldest = GaugeMetricFamily(
            "gateway_fleet_queue_oldest_seconds", "Age of the call that waits longest.", labels=("service",)
        )
        for name, age_s in view.oldest_s.items():
            oldest.add_metric((name,), age_s)
        yield from (queued, oldest)
        yield GaugeMetricFamily("gateway_fleet_dead_letters", "Dead letters that are kept.", value=view.dead)

    def describe(self) -> Iterator[Metric]:
        """Nothing: it would ask the servers."""
        return iter(())

    def _fresh(self) -> FleetView | None:
        with self._lock:
            if monotonic() - self._looked_at < _FRESH_S:
                return self._view
            if self._look_thread is None:
                self._look_thread = threading.Thread(target=self._look_now, name="gateway-fleet-look", daemon=True)
                self._look_thread.start()
            looking = self._look_thread
        looking.join(_PATIENCE_S)
        return None if looking.is_alive() else self._view

    def _look_now(self) -> None:
        view: FleetView | None = None
        try:
            view = self._look()
        except Exception as error:  # of whatever is away
            _log.debug("the fleet cannot be looked at: %s", type(error).__name__)
        with self._lock:
            self._view, self._looked_at, self._look_thread = view, monotonic(), None
