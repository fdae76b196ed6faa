"""Which call a piece of code works for: of its task, and of the tasks that this starts."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

from gateway.trace import trace_headers

if TYPE_CHECKING:
    from workers.execution import Execution

__all__ = ["CURRENT", "current_fields", "fields_of"]

#: Set by what follows the events, see `workers.observation.call_log`.
CURRENT: ContextVar["Execution | None"] = ContextVar("current_call", default=None)


def current_fields() -> Mapping[str, object]:
    """What names the call that runs here, for a line of the log; empty where none does."""
    execution = CURRENT.get()
    return {} if execution is None else fields_of(execution)


def fields_of(execution: "Execution") -> dict[str, object]:
    """What names a call, and its current attempt."""
    envelope = execution.envelope
    fields: dict[str, object] = {
        "correlation_id": execution.correlation_id,
        "call_id": execution.call_id,
        "service": execution.service.name,
        "operation": execution.operation,
        "attempt": execution.number,
    }
    if envelope.caller is not None:
        fields["caller"] = envelope.caller
    own = execution.trace
    trace = trace_headers(envelope.traceparent, None) if own is None else own
    if "traceparent" in trace:
        # version-trace-parent-flags: W3C Trace Context, section 3.2.2.
        _, fields["trace_id"], span, *_ = trace["traceparent"].split("-")
        if own is not None:
            # Otherwise it is the producer's, whose lines these are not.
            fields["span_id"] = span
    return fields
