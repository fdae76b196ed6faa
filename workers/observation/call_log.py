"""What a call's life is in the log: one line at its end with what came of it, and each attempt at DEBUG.

| event | level | |
|---|---|---|
| a reply; an error that the service, its limits or the call itself caused | INFO | it is the caller's to act on |
| an outcome that nobody can know, an error of the gateway | WARNING | somebody should look |
| parked, dropped, refused | INFO | |
| a breaker that opens; one that closes | WARNING; INFO | |
| an attempt's start and end, a wait for a limit | DEBUG | |
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from gateway.errors import GatewayFaultError, GatewayUnavailableError, OutcomeUnknownError, ServiceError
from gateway.outcome import Failure
from gateway.reply import Timing
from workers.conclusion import timing_of
from workers.observation.call_context import CURRENT
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
)
from workers.said import said_of_error

__all__ = ["CallLog"]

_calls = logging.getLogger("gateway.calls")
_attempts = logging.getLogger("gateway.attempts")
_breakers = logging.getLogger("gateway.breaker")

_OURS = (GatewayFaultError, GatewayUnavailableError, OutcomeUnknownError)


class CallLog:
    """An observer, and the first: it says which call runs, for the lines of all others."""

    name = "log"

    @property
    def handlers(self) -> Mapping[type[Any], Callable[[Any], object]]:
        """What it writes."""
        return {
            CallTaken: lambda event: CURRENT.set(event.execution),
            CallLeft: lambda event: CURRENT.set(None),
            CallEnded: _ended,
            CallRefused: _refused,
            CallParked: lambda event: _calls.info("parked", extra={"why": event.why, "until": event.until}),
            CallDropped: lambda event: _calls.info("dropped", extra={"why": event.why}),
            AttemptHeld: lambda event: _attempts.debug("held", extra={"why": event.why}),
            AttemptStarted: _started,
            AttemptEnded: _attempted,
            BreakerChanged: _changed,
        }


def _ended(event: CallEnded) -> None:
    execution, outcome = event.execution, event.outcome
    # A call that was cancelled may end after it left.
    token = CURRENT.set(execution)
    try:
        if isinstance(outcome, ServiceError):
            level = logging.WARNING if isinstance(outcome, _OURS) else logging.INFO
            _calls.log(level, "error", extra=_error(outcome) | _ms(timing_of(execution)))
        else:
            fields = {
                "status": outcome.status,
                "attempts": outcome.attempts,
                "request_id": outcome.request_id,
                **_ms(outcome.timing),
            }
            _calls.info("reply", extra=fields)
    finally:
        CURRENT.reset(token)


def _refused(event: CallRefused) -> None:
    names = ("call_id", "correlation_id", "service", "operation", "caller")
    known = {name: getattr(event, name) for name in names}
    _calls.info("refused", extra={name: value for name, value in known.items() if value} | _error(event.error))


def _error(error: ServiceError) -> dict[str, object]:
    fields = {
        "error": type(error).__name__,
        "status": error.status,
        "delivery": str(error.delivery),
        "attempts": error.attempts,
        "retry_after_s": error.retry_after_s,
        "request_id": error.request_id,
        "said": said_of_error(error),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _ms(timing: Timing) -> dict[str, object]:
    """Its parts in milliseconds, as far as they are known."""
    parts = {
        "queued_ms": timing.queued,
        "pool_wait_ms": timing.pool_wait,
        "connect_ms": timing.connect,
        "first_byte_ms": timing.first_byte,
        "total_ms": timing.total,
    }
    return {name: round(seconds * 1000, 1) for name, seconds in parts.items() if seconds is not None}


def _started(event: AttemptStarted) -> None:
    # Of the task that runs it: beside it another attempt of the same call may run in its own.
    CURRENT.set(event.execution)
    _attempts.debug("attempt started", extra={"hedge": True} if event.execution.hedge else None)


def _attempted(event: AttemptEnded) -> None:
    result = event.result
    fields: dict[str, object] = {"took_ms": round(event.elapsed_s * 1000, 1)}
    if isinstance(result, Failure):
        fields |= {"error": result.error.__name__, "status": result.status, "delivery": str(result.delivery)}
    elif result is None:
        fields["error"] = "cancelled"
    else:
        fields["status"] = result.status
    _attempts.debug("attempt ended", extra=fields)


def _changed(event: BreakerChanged) -> None:
    level = logging.WARNING if event.phase == "open" else logging.INFO
    _breakers.log(level, "the breaker of %s was %s and is %s", event.service, event.was or "unknown", event.phase)
