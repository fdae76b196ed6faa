"""How a job ends for Celery, when its outcome was not stored, or when it was never performed."""

import logging
from datetime import UTC, datetime
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.exceptions import Ignore, Reject, Retry

from gateway import message_headers
from gateway.codec import decode
from gateway.errors import (
    CallCancelledError,
    DeadlineExceededError,
    Delivery,
    GatewayFaultError,
    ServiceError,
)
from gateway.outcome import Failure
from gateway.reply import Reply
from workers.job import Job
from workers.outcome_store import STORE_ERRORS
from workers.outcomes import Dropped, Parked
from workers.pool.following import Following

__all__ = ["announce", "cancelled_unsent", "expired_unsent", "give_up"]

logger = logging.getLogger(__name__)


class ParkedNotice(Exception):
    """Why a call left the worker, as the event `task-retried` and Flower show it."""

    def __repr__(self) -> str:
        return str(self)


def announce(job: Job) -> None:
    """Tell Celery what the tracer made of a job, or that the call goes on elsewhere."""
    if isinstance(job.outcome, Parked | Dropped):
        _announce_left(job, job.outcome)
    elif job.traced is not None:
        job.on_done(job.traced)
    elif job.broken is not None:
        # Where the store fails, an ordinary task's message goes back to its queue (`reject_on_worker_lost`). Any other
        # reason would come again with the message, for ever: the task ends as failed.
        why = f"the tracer failed: {_kind(job.broken)}"
        is_lost = isinstance(job.broken, STORE_ERRORS) and job.outcome is None
        job.on_lost(_information(WorkerLostError(why) if is_lost else _fault(job, why)))


def give_up(job: Job) -> None:
    """End a call whose outcome is known and cannot be stored before the worker ends: its message goes back.

    One that was not sent goes back as it was. Any other comes again as one that was begun: if it may not be repeated,
    whoever gets it next says that its outcome is unknown.
    """
    job.silenced = True
    if isinstance(job.outcome, Dropped) and Following.is_followed(job):
        # Whether something is still owed after that call could not be asked.
        job.on_lost(_information(Reject("what follows it is not known", requeue=True)))
        return
    if isinstance(job.outcome, Parked | Dropped):
        _announce_left(job, job.outcome)
        return
    if job.told:
        logger.error("call %s: what follows it could not be enqueued, and its message goes back", job.task_id)
        return
    if isinstance(job.outcome, ServiceError) and job.outcome.delivery is Delivery.NOT_SENT:
        logger.warning("call %s was not sent, and goes back to its queue: no result could be stored", job.task_id)
        job.on_lost(_information(Reject("its outcome could not be stored", requeue=True)))
        return
    # Neither acknowledged nor rejected: it goes back when the connection is closed.
    logger.error(
        "call %s: its outcome could not be stored, and its message goes back: %s", job.task_id, _summary(job.outcome)
    )


def cancelled_unsent(job: Job) -> ServiceError:
    """The error of a call that was revoked before it started."""
    return _unsent(job, CallCancelledError, "it was cancelled before it was sent")


def expired_unsent(job: Job) -> ServiceError:
    """The error of a call whose message had expired (Celery's `expires`)."""
    return _unsent(job, DeadlineExceededError, "it expired before it was sent")


def _announce_left(job: Job, outcome: Parked | Dropped) -> None:
    if isinstance(outcome, Dropped):
        # Celery acknowledges the message and says nothing: the call has another.
        job.on_lost(_information(Ignore(outcome.why)))
        return
    why, until = f"parked: {outcome.why}", None
    if outcome.until is not None:
        until = datetime.fromtimestamp(outcome.until, UTC)
        why += f", until {until:%H:%M:%S} UTC"
    retry = Retry(why, exc=ParkedNotice(why), when=until)
    information = _information(retry)
    # What the event shows is the representation of `exception.exc`, and the traceback; nothing has failed.
    information.exception, information.traceback = retry, ""
    job.on_lost(information)


def _fault(job: Job, why: str) -> GatewayFaultError:
    """The error of a job whose outcome cannot be stored as it is. It says as much of the service as that did."""
    if job.outcome is None:
        return GatewayFaultError(why)
    delivery = job.outcome.delivery if isinstance(job.outcome, ServiceError) else Delivery.MAYBE_SENT
    return GatewayFaultError(why, delivery=delivery, call_id=job.task_id)


def _unsent(job: Job, error: type[ServiceError], why: str) -> ServiceError:
    delivery = Delivery.NOT_SENT
    if job.request.get(message_headers.MAYBE):
        # It was parked between two attempts.
        why, delivery = f"{why} again", Delivery.MAYBE_SENT
    args, kwargs, _ = job.call_arguments
    identity: dict[str, Any] = {"call_id": job.task_id}
    try:
        envelope = decode(args, kwargs)
    except ServiceError:
        pass  # it would have been refused
    else:
        identity |= {
            "service": envelope.call.service,
            "operation": envelope.call.operation,
            "correlation_id": envelope.correlation_id,
        }
    return Failure(error=error, message=why, delivery=delivery).to_error(**identity)


def _summary(outcome: object) -> str:
    """One line without anything of the payload."""
    if isinstance(outcome, Reply):
        return f"a reply, {outcome.summary()}"
    if isinstance(outcome, ServiceError):
        status = "" if outcome.status is None else f" {outcome.status}"
        return f"{_kind(outcome)}{status}, {outcome.delivery.value} · {outcome.service} {outcome.operation}"
    return _kind(outcome)


def _kind(value: object) -> str:
    return type(value).__name__


def _information(error: Exception) -> ExceptionInfo:
    try:
        raise error
    except Exception:
        return ExceptionInfo()
