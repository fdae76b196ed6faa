"""The worker's part of a trace: a span for each call that it executes, and one for each attempt.

Names and attributes are OpenTelemetry's conventions for messaging, HTTP and RPC
(https://opentelemetry.io/docs/specs/semconv/); what has no name there begins with `gateway.`. No attribute has a value
of a path, a query, a header or a body.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from gateway.call import GraphQLCall, GrpcCall, RestCall
from gateway.errors import ServiceError
from gateway.outcome import Failure
from gateway.producer_span import traceparent_of
from gateway.routing import queue_of
from gateway.trace import trace_headers
from workers.attempt import Answer
from workers.observation.events import (
    AttemptEnded,
    AttemptHeld,
    AttemptStarted,
    CallDropped,
    CallEnded,
    CallLeft,
    CallParked,
    CallTaken,
)

if TYPE_CHECKING:
    from workers.execution import Execution

__all__ = ["Tracing", "is_wanted"]

_log = logging.getLogger("gateway.tracing")

#: Seconds that the last spans have to be exported when a worker ends.
_LAST_S = 3.0
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment names where spans go, as OpenTelemetry's own variables do."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    if not any(map(environ.get, _ENDPOINTS)):
        return False
    if not (_is_installed("opentelemetry.sdk") and _is_installed("opentelemetry.exporter.otlp.proto.http")):
        _log.warning("there is an OTLP endpoint, and no OpenTelemetry; pip install 'call-gateway[traces]'")
        return False
    return True


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ModuleNotFoundError, ValueError):  # one that it is in is not
        return False


@dataclass(slots=True)
class _Open:
    """The spans of a call that runs."""

    call: Any
    attempts: dict[int, Any] = field(default_factory=dict)
    last: Any = None


class Tracing:
    """An observer.

    Args:
        provider: of tracers; it is shut down with this.
    """

    name = "traces"

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api: Any = trace
        self._provider = provider
        self._tracer = provider.get_tracer("call-gateway")
        self._propagator = TraceContextTextMapPropagator()
        self._open: dict[str, _Open] = {}

    @classmethod
    def exporting(cls) -> Self:
        """To where the environment says, over OTLP; in batches, by a thread, with a bound on what waits."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # What OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say goes before it.
        resource = Resource({SERVICE_NAME: "call-gateway"}).merge(Resource.create())
        found = resource.attributes.get(SERVICE_NAME, "")
        if str(found).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "call-gateway"}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    @property
    def handlers(self) -> Mapping[type[Any], Callable[[Any], object]]:
        """What it traces."""
        return {
            CallTaken: self._on_taken,
            AttemptHeld: lambda event: self._note(event.execution, "held", {"gateway.why": event.why}),
            AttemptStarted: self._on_started,
            AttemptEnded: self._on_attempt,
            CallParked: lambda event: self._note(event.execution, "parked", {"gateway.why": event.why}),
            CallDropped: lambda event: self._note(event.execution, "dropped", {"gateway.why": event.why}),
            CallEnded: self._on_ended,
            CallLeft: self._on_left,
        }

    def _on_taken(self, event: CallTaken) -> None:
        execution = event.execution
        envelope, call = execution.envelope, execution.call
        parent = self._propagator.extract(trace_headers(envelope.traceparent, envelope.tracestate))
        queue = queue_of(execution.service.name)
        attributes: dict[str, Any] = {
            "messaging.system": "celery",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": queue,
            "messaging.message.id": execution.call_id,
            "messaging.message.conversation_id": execution.correlation_id,
            "gateway.service": execution.service.name,
            "gateway.operation": call.operation,
            "gateway.parks": execution.progress.parks,
        }
        if envelope.caller is not None:
            attributes["gateway.caller"] = envelope.caller
        if envelope.sent_at is not None:
            attributes["gateway.queued_s"] = max(0.0, execution.accepted_at - envelope.sent_at)
        links, first = [], execution.progress.replay_of
        if first is not None:
            # The message of the call that failed had the same parent: where its spans are found.
            origin = self._api.get_current_span(parent).get_span_context()
            links.append(self._api.Link(origin, {"gateway.link": "replay of", "messaging.message.id": first}))
        span = self._tracer.start_span(
            f"process {queue}", context=parent, kind=self._api.SpanKind.CONSUMER, attributes=attributes, links=links
        )
        self._open[execution.progress.owner] = _Open(span)

    def _on_started(self, event: AttemptStarted) -> None:
        execution = event.execution
        known = self._open.get(execution.progress.owner)
        if known is None:
            return
        # A retry follows the attempt before it; a hedge runs beside one.
        before = known.last
        links = [] if before is None else [self._api.Link(before.get_span_context(), {"gateway.link": _why(execution)})]
        name, attributes = _asked(execution)
        span = self._tracer.start_span(
            name,
            context=self._api.set_span_in_context(known.call),
            kind=self._api.SpanKind.CLIENT,
            attributes=attributes,
            links=links,
        )
        known.attempts[execution.number] = known.last = span
        context = span.get_span_context()
        execution.trace = trace_headers(traceparent_of(context), context.trace_state.to_header() or None)

    def _on_attempt(self, event: AttemptEnded) -> None:
        known = self._open.get(event.execution.progress.owner)
        span = None if known is None else known.attempts.pop(event.execution.number, None)
        if span is None:
            return
        result = event.result
        if isinstance(result, Failure):
            _failed(self._api, span, result.error.__name__)
            span.set_attribute("gateway.delivery", str(result.delivery))
            _status(span, event.execution, result.status)
        elif isinstance(result, Answer):
            _status(span, event.execution, result.status)
        else:
            span.set_attribute("gateway.cancelled", value=True)
        span.end()

    def _on_ended(self, event: CallEnded) -> None:
        known = self._open.get(event.execution.progress.owner)
        if known is None:
            return
        known.call.set_attribute("gateway.attempts", event.execution.progress.attempts)
        if isinstance(event.outcome, ServiceError):
            _failed(self._api, known.call, type(event.outcome).__name__)
            known.call.set_attribute("gateway.delivery", str(event.outcome.delivery))

    def _on_left(self, event: CallLeft) -> None:
        known = self._open.pop(event.execution.progress.owner, None)
        if known is not None:
            for span in known.attempts.values():
                span.end()
            known.call.end()

    def _note(self, execution: "Execution", event: str, attributes: Mapping[str, str]) -> None:
        known = self._open.get(execution.progress.owner)
        if known is not None:
            known.call.add_event(event, attributes)

    def close(self) -> None:
        """Export what is left, for some seconds at most."""
        # Whoever takes the spans may be away, which nobody waits for.
        last = threading.Thread(target=self._provider.shutdown, name="gateway-traces-end", daemon=True)
        last.start()
        last.join(_LAST_S)


def _why(execution: "Execution") -> str:
    return "hedge of" if execution.hedge else "retry of"


def _asked(execution: "Execution") -> tuple[str, dict[str, Any]]:
    """Name and attributes of an attempt's span."""
    call, service = execution.call, execution.service
    attributes: dict[str, Any] = {
        "gateway.service": service.name,
        "gateway.attempt": execution.number,
        "gateway.request_id": execution.attempt_request_id,
    }
    if execution.number > 1:
        attributes["http.request.resend_count"] = execution.number - 1
    match call:
        case RestCall():
            attributes |= {"http.request.method": call.method, "url.template": call.route}
            return call.operation, attributes
        case GrpcCall():
            rpc_service, _, method = call.method.rpartition("/")
            attributes |= {"rpc.system": "grpc", "rpc.service": rpc_service, "rpc.method": method}
            return call.method, attributes
        case GraphQLCall():
            attributes |= {"http.request.method": "POST", "graphql.operation.name": call.operation}
            return call.operation, attributes


def _status(span: Any, execution: "Execution", status: int | str | None) -> None:
    if status is None:
        return
    if isinstance(execution.call, GrpcCall):
        span.set_attribute("rpc.response.status_code", str(status))
    elif isinstance(status, int):
        span.set_attribute("http.response.status_code", status)


def _failed(api: Any, span: Any, error: str) -> None:
    """Without the error's text, which may be the service's own."""
    span.set_attribute("error.type", error)
    span.set_status(api.Status(api.StatusCode.ERROR))
