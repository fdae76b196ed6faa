"""What a worker counts, for Prometheus. Names and meanings are in docs/metrics.md."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.registry import Collector

from gateway.call import protocol_of
from gateway.dead_letter import Reason
from gateway.envelope import MAX_DEADLINE_S
from gateway.errors import (
    CallCancelledError,
    CallRejectedError,
    DeadlineExceededError,
    InvalidCallError,
    ServiceError,
)
from gateway.outcome import Failure
from workers.attempt import Answer
from workers.observation.events import (
    AttemptEnded,
    AttemptHeld,
    AttemptStarted,
    BreakerChanged,
    CallDropped,
    CallEnded,
    CallLeft,
    CallParked,
    CallRefused,
    CallTaken,
    LetterKept,
)
from workers.observation.labels import OTHER, Labels

__all__ = ["Metrics"]

# When each series began would be as many series again, and nothing asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]
#: Seconds. A fast service answers within milliseconds; deadlines are seconds to a few minutes.
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Calls also wait in queues for minutes.
_WAITS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
#: Operations of one service, and reasons, that have series of their own.
_OPERATIONS, _REASONS = 200, 30
#: Why calls are rejected, see docs/callers.md.
_REJECTED = ("unsigned", "unknown", "forged", "tampered", "replayed", "expired", "malformed", "early", "forbidden")
#: What ends a call that does not begin in this worker, by its producer's own will.
_ENDED_UNSENT = (CallCancelledError, DeadlineExceededError)
_PHASES = {"closed": 0, "half-open": 1, "open": 2}


class Metrics:
    """An observer.

    Args:
        services: of the catalogue.

    Attributes:
        registry: what is exposed.
    """

    name = "metrics"

    def __init__(self, services: Iterable[str]) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._operations = Labels(_OPERATIONS)
        self._reasons = Labels(_REASONS)
        #: Series by their labels: looking one up in prometheus_client costs as much as counting.
        self._series: dict[tuple[Any, ...], Any] = {}
        make = _Maker(self.registry)
        self._calls = make.counter("calls", "Calls that ended.", "service", "operation", "protocol", "outcome", "error")
        self._duration = make.histogram(
            "call_duration_seconds", "Of a call in workers, all attempts.", _DURATIONS, "service", "operation"
        )
        self._queued = make.histogram("queue_wait_seconds", "From submit to a worker.", _WAITS, "service")
        self._refused = make.counter("refused", "Messages that became no call.", "error", "reason")
        self._parked = make.counter("parked", "Times that a call was parked.", "service", "why")
        self._dropped = make.counter("dropped", "Messages that were duplicates, or leases lost.", "service", "why")
        self._in_flight = make.gauge("calls_in_flight", "Calls in this worker.", "service")
        self._attempts = make.counter("attempts", "Attempts that ended.", "service", "operation", "result")
        self._attempt = make.histogram("attempt_duration_seconds", "Of an attempt.", _DURATIONS, "service")
        self._retries = make.counter("retries", "Attempts after the first.", "service")
        self._hedges = make.counter("hedges", "Attempts beside another.", "service")
        self._held = make.counter("held", "Attempts that had to wait in the worker.", "service", "why")
        self._out = make.counter("request_body_bytes", "Bodies and messages sent.", "service")
        self._in = make.counter("reply_body_bytes", "Bodies and messages that came.", "service")
        self._phase = make.gauge("breaker_state", "0 closed, 1 half-open, 2 open, as this worker knows it.", "service")
        self._trips = make.counter("breaker_opened", "Times that this worker saw the breaker open.", "service")
        self._letters = make.counter("dead_letters", "Dead letters written.", "service", "reason")
        self._services = frozenset(services)
        for service in self._services:
            # There from the start: a rate over a series that begins with its first failure misses that.
            self._phase.labels(service).set(0)
            self._in_flight.labels(service).set(0)
            self._trips.labels(service)
            self._retries.labels(service)
            self._hedges.labels(service)
            for reason in Reason:
                self._letters.labels(service, reason.value)
        self._letters.labels("", Reason.UNREADABLE.value)
        self._letters.labels(OTHER, Reason.FAILED.value)
        self._refused.labels(InvalidCallError.__name__, "")
        for why in _REJECTED:
            self._refused.labels(CallRejectedError.__name__, why)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def add(self, collector: Collector) -> None:
        """Expose what another collector finds when it is asked."""
        self.registry.register(collector)

    @property
    def handlers(self) -> Mapping[type[Any], Callable[[Any], object]]:
        """What it counts."""
        return {
            CallTaken: self._on_taken,
            CallLeft: lambda event: self._of(self._in_flight, event.execution.service.name).dec(),
            CallEnded: self._on_ended,
            CallParked: lambda event: self._count_why(self._parked, event.execution.service.name, event.why),
            CallDropped: lambda event: self._count_why(self._dropped, event.execution.service.name, event.why),
            CallRefused: self._on_refused,
            AttemptHeld: lambda event: self._of(self._held, event.execution.service.name, event.why).inc(),
            AttemptStarted: self._on_started,
            AttemptEnded: self._on_attempt,
            LetterKept: self._on_letter,
            BreakerChanged: self._on_breaker,
        }

    def _of(self, metric: Any, *labels: str) -> Any:
        key = (metric, *labels)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = metric.labels(*labels)
        return found

    def _count_why(self, metric: Any, service: str, why: str) -> None:
        self._of(metric, service, self._reasons.bounded(metric._name, why)).inc()

    def _on_taken(self, event: CallTaken) -> None:
        execution = event.execution
        service = execution.service.name
        self._of(self._in_flight, service).inc()
        sent_at = execution.envelope.sent_at
        if sent_at is not None and not execution.progress.parks:
            # What a message says of itself may be anything.
            self._of(self._queued, service).observe(min(max(0.0, execution.accepted_at - sent_at), MAX_DEADLINE_S))

    def _on_ended(self, event: CallEnded) -> None:
        execution, outcome = event.execution, event.outcome
        service, call = execution.service.name, execution.call
        operation = self._operations.bounded(service, execution.operation)
        failed = isinstance(outcome, ServiceError)
        kind, error = ("error", type(outcome).__name__) if failed else ("reply", "")
        self._of(self._calls, service, operation, protocol_of(call), kind, error).inc()
        self._of(self._duration, service, operation).observe(max(0.0, execution.spent_s))

    def _on_refused(self, event: CallRefused) -> None:
        error, reason = event.error, ""
        if event.service in self._services and isinstance(error, _ENDED_UNSENT):
            # It was a call, perhaps one that had been parked, and is over before it began here.
            operation = self._operations.bounded(event.service, event.operation or "")
            self._of(self._calls, event.service, operation, "", "error", type(error).__name__).inc()
            return
        if isinstance(error, CallRejectedError) and isinstance(error.details, dict):
            reason = self._reasons.bounded("refused", str(error.details.get("reason") or ""))
        self._of(self._refused, type(error).__name__, reason).inc()

    def _on_started(self, event: AttemptStarted) -> None:
        execution = event.execution
        if execution.hedge:
            self._of(self._hedges, execution.service.name).inc()
        elif execution.number > 1:
            self._of(self._retries, execution.service.name).inc()

    def _on_attempt(self, event: AttemptEnded) -> None:
        execution, result = event.execution, event.result
        service = execution.service.name
        operation = self._operations.bounded(service, execution.operation)
        if isinstance(result, Failure):
            said = result.error.__name__
        else:
            said = "reply" if isinstance(result, Answer) else "cancelled"
        self._of(self._attempts, service, operation, said).inc()
        self._of(self._attempt, service).observe(event.elapsed_s)
        wire = execution.wire
        if wire.body_out:
            self._of(self._out, service).inc(wire.body_out)
        if wire.body_in:
            self._of(self._in, service).inc(wire.body_in)

    def _on_letter(self, event: LetterKept) -> None:
        service = event.letter.service or ""
        if service and service not in self._services:
            # Anybody may send a call of a service that there is not, and of a new one each time.
            service = OTHER
        self._of(self._letters, service, event.letter.reason.value).inc()

    def _on_breaker(self, event: BreakerChanged) -> None:
        self._of(self._phase, event.service).set(_PHASES.get(event.phase, 0))
        if event.phase == "open":
            self._of(self._trips, event.service).inc()


class _Maker:
    """Makes metrics with the gateway's prefix."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"gateway_{name}", what, labels, registry=self._registry)

    def gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"gateway_{name}", what, labels, registry=self._registry)

    def histogram(self, name: str, what: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(f"gateway_{name}", what, labels, buckets=tuple(buckets), registry=self._registry)
