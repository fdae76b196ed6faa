"""What is looked at when a worker is scraped: connections, the loop, and observers that failed."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from workers.transports.base import Usage

__all__ = ["WorkerCollector"]


class WorkerCollector(Collector):
    """Reads numbers that other threads write; one that is a moment old does no harm.

    Args:
        usage: of each transport, by service and protocol.
        lag_s: seconds that the loop of the calls is late, or was of late.
        failures: how often each observer failed, by its name.
        lost: entries that the history lost.
    """

    def __init__(
        self,
        usage: Callable[[], Mapping[tuple[str, str], Usage]],
        lag_s: Callable[[], float],
        failures: Mapping[str, int],
        lost: Callable[[], int],
    ) -> None:
        self._usage = usage
        self._lag_s = lag_s
        self._failures = failures
        self._lost = lost

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        connections = GaugeMetricFamily(
            "gateway_pool_connections", "Open connections, idle ones too.", labels=("service", "protocol")
        )
        busy = GaugeMetricFamily(
            "gateway_pool_busy", "Attempts that have a place on a connection.", labels=("service", "protocol")
        )
        waiting = GaugeMetricFamily(
            "gateway_pool_waiting", "Attempts that wait for a place.", labels=("service", "protocol")
        )
        for (service, protocol), usage in self._usage().items():
            connections.add_metric((service, protocol), usage.connections)
            busy.add_metric((service, protocol), usage.busy)
            waiting.add_metric((service, protocol), usage.waiting)
        yield from (connections, busy, waiting)
        yield GaugeMetricFamily(
            "gateway_loop_lag_seconds",
            "By how much the loop of the calls was late, at worst within 30 s.",
            value=self._lag_s(),
        )
        failures = CounterMetricFamily(
            "gateway_observer_failures", "Events at which an observer raised.", labels=("observer",)
        )
        for name in dict.fromkeys(("log", "traces", "metrics", "history", *self._failures)):
            failures.add_metric((name,), self._failures.get(name, 0))
        yield failures
        yield CounterMetricFamily(
            "gateway_history_lost", "Entries that the history lost, while Redis was away.", value=self._lost()
        )

    def describe(self) -> Iterator[Metric]:
        """Nothing: what it will find is not known before."""
        return iter(())
