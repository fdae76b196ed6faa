"""How a call ends: what is made of its last result."""

from dataclasses import replace

from gateway.call import protocol_of
from gateway.errors import CallCancelledError, Delivery, OutcomeUnknownError, ServiceError
from gateway.outcome import Failure
from gateway.reply import Reply, Timing
from workers.attempt import Answer
from workers.execution import Execution

__all__ = ["cancellation", "conclude", "error_of", "make_reply", "timing_of"]


async def conclude(execution: Execution, failure: Failure) -> Failure:
    """The failure that the producer gets.

    Its delivery is that of the call: what was not sent at last may have been sent before. A call that may have been
    executed and may not be repeated has an unknown outcome, whatever ended its last attempt.
    """
    failure = replace(failure, delivery=execution.overall(failure.delivery))
    if failure.delivery is not Delivery.MAYBE_SENT or issubclass(
        failure.error, OutcomeUnknownError | CallCancelledError
    ):
        return failure
    if await execution.idempotent():
        return failure
    return Failure(
        error=OutcomeUnknownError,
        message=f"{failure.message}; it may have been executed, and may not be repeated ({failure.error.__name__})",
        delivery=Delivery.MAYBE_SENT,
        status=failure.status,
        details={"error": failure.error.__name__, "phase": failure.extra.get("phase"), "said": failure.details},
        retry_after_s=failure.retry_after_s,
    )


def cancellation(delivery: Delivery) -> Failure:
    """The failure of a call that was cancelled."""
    told = {
        Delivery.NOT_SENT: "it was cancelled before it was sent",
        Delivery.MAYBE_SENT: "it was cancelled while the service had it",
        Delivery.ANSWERED: "it was cancelled when the service had answered",
    }
    return Failure(error=CallCancelledError, message=told[delivery], delivery=delivery)


def error_of(execution: Execution, failure: Failure) -> ServiceError:
    """The error that Celery stores."""
    return failure.to_error(
        service=execution.service.name,
        operation=execution.call.operation,
        attempts=execution.progress.attempts,
        correlation_id=execution.correlation_id,
        request_id=execution.attempt_request_id,
        call_id=execution.call_id,
    )


def make_reply(execution: Execution, answer: Answer) -> Reply:
    """The reply that Celery stores."""
    return Reply(
        data=answer.data,
        status=answer.status,
        headers=answer.headers,
        attempts=execution.progress.attempts,
        timing=timing_of(execution),
        correlation_id=execution.correlation_id,
        request_id=execution.attempt_request_id,
        service=execution.service.name,
        operation=execution.call.operation,
        protocol=protocol_of(execution.call),
        call_id=execution.call_id,
    )


def timing_of(execution: Execution) -> Timing:
    """Where its time went, as far as it is known now."""
    wire = execution.wire
    sent_at = execution.envelope.sent_at
    return Timing(
        queued=None if sent_at is None else max(0.0, execution.accepted_at - sent_at),
        pool_wait=_between(wire.started, wire.pool_acquired),
        connect=_between(wire.connect_started, wire.connected),
        first_byte=_between(wire.sent, wire.first_byte),
        total=execution.spent_s,
    )


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else max(0.0, end - start)
