"""The producer's part of a trace: a span for each call that is enqueued, in applications that trace.

Nothing of OpenTelemetry is loaded here: where the application has not loaded it, nothing is traced.
"""

import sys
from typing import Any

from gateway.call import Call, protocol_of
from gateway.routing import queue_of

__all__ = ["Traced", "begin", "traceparent_of"]

#: `traceparent` and `tracestate`, as they go into the message.
Traced = tuple[str | None, str | None]


def begin(call: Call, correlation_id: str | None) -> Traced:
    """Note that a call is enqueued in the current trace, and give the context that goes on with it.

    A span of kind PRODUCER, `create <queue>`, under the current one, as OpenTelemetry's conventions for messaging name
    it: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/. Without a current span there is none.
    """
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None or not api.get_current_span().get_span_context().is_valid:
        return None, None
    queue = queue_of(call.service)
    attributes = {
        "messaging.system": "celery",
        "messaging.operation.type": "create",
        "messaging.operation.name": "create",
        "messaging.destination.name": queue,
        "gateway.service": call.service,
        "gateway.operation": call.operation,
        "gateway.protocol": protocol_of(call),
    }
    if correlation_id is not None:
        attributes["messaging.message.conversation_id"] = correlation_id
    tracer = api.get_tracer("call-gateway")
    with tracer.start_as_current_span(f"create {queue}", kind=api.SpanKind.PRODUCER, attributes=attributes) as span:
        context = span.get_span_context()
    if not context.is_valid:
        return None, None
    return traceparent_of(context), context.trace_state.to_header() or None


def traceparent_of(context: Any) -> str:
    """Version 00 of W3C Trace Context, section 3.2."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
