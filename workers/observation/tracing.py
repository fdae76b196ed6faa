"""The worker's part of a trace: a span for each call that it executes, and one for each attempt.

Names and attributes are OpenTelemetry's conventions for messaging, HTTP and RPC
(https://opentelemetry.io/docs/specs/semconv/); what has no name there begins with `gateway.`. No attribute has a value
of a path, a query, a header or a body.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from time import time_ns
from typing import TYPE_CHECKING, Any, Self

from gateway.call import GraphQLCall, GrpcCall, RestCall
from gateway.errors import ServiceError
from gateway.outcome import Failure
from gateway.producer_span import traceparent_of
from gateway.routing import queue_of, shortened
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
class _Span:
    """What becomes a span when it ends.

    It is made once, from what is known then: the SDK's own spans are changed step by step, each step under a lock.
    """

    context: Any
    parent: Any
    name: str
    kind: Any
    attributes: dict[str, Any]
    links: tuple[Any, ...] = ()
    events: list[Any] = field(default_factory=list)
    error: str | None = None
    started: int = field(default_factory=time_ns)


@dataclass(slots=True)
class _Open:
    """The spans of a call that runs."""

    call: _Span
    attempts: dict[int, _Span] = field(default_factory=dict)
    last: Any = None


class Tracing:
    """An observer.

    Args:
        provider: its sampler, ids and resource are used.
        processor: of spans that have ended; it is shut down with this.
    """

    name = "traces"

    def __init__(self, provider: Any, processor: Any) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api: Any = trace
        self._event: Any = Event
        self._readable = partial(
            ReadableSpan, resource=provider.resource, instrumentation_scope=InstrumentationScope("call-gateway")
        )
        self._provider = provider
        self._processor = processor
        self._propagator = TraceContextTextMapPropagator()
        self._good = trace.Status()
        self._bad = trace.Status(trace.StatusCode.ERROR)
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
        return cls(provider, BatchSpanProcessor(OTLPSpanExporter()))

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
        envelope = execution.envelope
        queue = queue_of(execution.service.name)
        attributes: dict[str, Any] = {
            "messaging.system": "celery",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": queue,
            "messaging.message.id": execution.call_id,
            "messaging.message.conversation_id": execution.correlation_id,
            "gateway.service": execution.service.name,
            "gateway.operation": execution.operation,
            "gateway.parks": execution.progress.parks,
        }
        if envelope.caller is not None:
            attributes["gateway.caller"] = envelope.caller
        if envelope.sent_at is not None:
            attributes["gateway.queued_s"] = max(0.0, execution.accepted_at - envelope.sent_at)
        self._open[execution.progress.owner] = _Open(self._begin(execution, f"process {queue}", attributes))

    def _begin(self, execution: "Execution", name: str, attributes: dict[str, Any]) -> _Span:
        """The span of a call, under the one of whoever enqueued it; it is sampled as the environment says."""
        envelope, kind = execution.envelope, self._api.SpanKind.CONSUMER
        found = self._propagator.extract(trace_headers(envelope.traceparent, envelope.tracestate))
        parent = self._api.get_current_span(found).get_span_context()
        ids = self._provider.id_generator
        trace_id = parent.trace_id if parent.is_valid else ids.generate_trace_id()
        links: tuple[Any, ...] = ()
        if (first := execution.progress.replay_of) is not None:
            # The message of the call that failed had the same parent: where its spans are found.
            links = (self._api.Link(parent, {"gateway.link": "replay of", "messaging.message.id": first}),)
        sampled = self._provider.sampler.should_sample(found, trace_id, name, kind, attributes, links)
        context = self._api.SpanContext(
            trace_id,
            ids.generate_span_id(),
            is_remote=False,
            trace_flags=self._api.TraceFlags(int(sampled.decision.is_sampled())),
            trace_state=sampled.trace_state,
        )
        return _Span(context, parent if parent.is_valid else None, name, kind, attributes, links)

    def _on_started(self, event: AttemptStarted) -> None:
        execution = event.execution
        known = self._open.get(execution.progress.owner)
        if known is None:
            return
        above = known.call.context
        # A retry follows the attempt before it; a hedge runs beside one.
        links = () if known.last is None else (self._api.Link(known.last, {"gateway.link": _why(execution)}),)
        name, attributes = _asked(execution)
        context = self._api.SpanContext(
            above.trace_id,
            self._provider.id_generator.generate_span_id(),
            is_remote=False,
            trace_flags=above.trace_flags,
            trace_state=above.trace_state,
        )
        span = _Span(context, above, name, self._api.SpanKind.CLIENT, attributes, links)
        known.attempts[execution.number], known.last = span, context
        execution.trace = trace_headers(traceparent_of(context), context.trace_state.to_header() or None)

    def _on_attempt(self, event: AttemptEnded) -> None:
        known = self._open.get(event.execution.progress.owner)
        span = None if known is None else known.attempts.pop(event.execution.number, None)
        if span is None:
            return
        result = event.result
        if isinstance(result, Failure):
            span.error = result.error.__name__
            span.attributes["gateway.delivery"] = str(result.delivery)
            _status(span.attributes, event.execution, result.status)
        elif isinstance(result, Answer):
            _status(span.attributes, event.execution, result.status)
        else:
            span.attributes["gateway.cancelled"] = True
        self._end(span)

    def _on_ended(self, event: CallEnded) -> None:
        known = self._open.get(event.execution.progress.owner)
        if known is None:
            return
        known.call.attributes["gateway.attempts"] = event.execution.progress.attempts
        if isinstance(event.outcome, ServiceError):
            known.call.error = type(event.outcome).__name__
            known.call.attributes["gateway.delivery"] = str(event.outcome.delivery)

    def _on_left(self, event: CallLeft) -> None:
        known = self._open.pop(event.execution.progress.owner, None)
        if known is not None:
            for span in known.attempts.values():
                self._end(span)
            self._end(known.call)

    def _note(self, execution: "Execution", event: str, attributes: Mapping[str, str]) -> None:
        known = self._open.get(execution.progress.owner)
        if known is not None:
            known.call.events.append(self._event(event, attributes, time_ns()))

    def _end(self, span: _Span) -> None:
        if not span.context.trace_flags.sampled:
            return
        if span.error is not None:
            # Without the error's text, which may be the service's own.
            span.attributes["error.type"] = span.error
        self._processor.on_end(
            self._readable(
                name=span.name,
                context=span.context,
                parent=span.parent,
                attributes=span.attributes,
                events=span.events,
                links=span.links,
                kind=span.kind,
                status=self._good if span.error is None else self._bad,
                start_time=span.started,
                end_time=time_ns(),
            )
        )

    def close(self) -> None:
        """Export what is left, for some seconds at most."""
        # Whoever takes the spans may be away, which nobody waits for.
        last = threading.Thread(target=self._processor.shutdown, name="gateway-traces-end", daemon=True)
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
            attributes |= {"http.request.method": call.method, "url.template": shortened(call.route)}
            return execution.operation, attributes
        case GrpcCall():
            rpc_service, _, method = call.method.rpartition("/")
            attributes |= {"rpc.system": "grpc", "rpc.service": rpc_service, "rpc.method": method}
            return call.method, attributes
        case GraphQLCall():
            attributes |= {"http.request.method": "POST", "graphql.operation.name": call.operation}
            return execution.operation, attributes


def _status(attributes: dict[str, Any], execution: "Execution", status: int | str | None) -> None:
    if isinstance(execution.call, GrpcCall):
        if status is not None:
            attributes["rpc.response.status_code"] = str(status)
    elif isinstance(status, int):
        attributes["http.response.status_code"] = status
