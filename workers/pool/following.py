"""What is enqueued after a call: its callbacks and the next step of its chain, or its error callbacks.

Celery's tracer enqueues after a reply before it stores that, and after an error when it has stored it. While the broker
takes nothing, the outcome is stored by itself, with a note that says what is still owed: should this worker end, the
message comes again, and whoever gets it sees to that. What cannot be enqueued at all, or not in time, is given up: the
log says what, and the steps have an error as their outcome.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from gateway.clock import process_time
from gateway.codec import decode
from gateway.errors import Delivery, GatewayUnavailableError, ServiceError
from gateway.reply import Reply
from workers.deadline import Deadline
from workers.job import Job
from workers.outcome_store import STORE_ERRORS, OutcomeStore, Settled
from workers.outcomes import Dropped
from workers.pool.trouble import is_for_good

__all__ = ["MARGIN_S", "Following"]

logger = logging.getLogger(__name__)

#: Seconds beyond a call's deadline for which what follows it is tried again; those of the promise in docs/delivery.md.
MARGIN_S = 15.0


class Following:
    """Of one pool.

    Args:
        store: where outcomes are.
        clock: the monotonic one.
    """

    def __init__(self, store: Callable[[], OutcomeStore], clock: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._clock = clock
        self._untils: WeakKeyDictionary[Job, float] = WeakKeyDictionary()

    @staticmethod
    def is_followed(job: Job) -> bool:
        """Whether the tracer may talk to the broker: also the last part of a chord does, for the chord's body."""
        *_, embed = job.call_arguments
        return any(embed.get(name) for name in ("callbacks", "chain", "errbacks", "chord"))

    @staticmethod
    def is_passing_on(job: Job, told: Settled) -> bool:
        """Whether it was enqueueing, and not storing, that failed."""
        *_, embed = job.call_arguments
        if isinstance(told.outcome, Reply):
            return not told.dispatched and bool(embed.get("callbacks") or embed.get("chain"))
        return told.stored and bool(embed.get("errbacks"))

    @staticmethod
    def remember(job: Job, told: Settled) -> None:
        """What the tracer has done it must not do again."""
        if told.dispatched:
            job.forget(callbacks=None, chain=None)
        elif told.stored:
            # The steps and the chord of a failed call have been told.
            job.forget(chain=None, chord=None)
        if told.enqueued:
            *_, embed = job.call_arguments
            for kind in ("callbacks", "errbacks"):
                job.forget(**{kind: [one for one in embed.get(kind) or () if _id_of(one) not in told.enqueued]})
            chain = embed.get("chain")
            if chain and _id_of(chain[-1]) in told.enqueued:
                job.forget(chain=None)

    def is_vain(self, job: Job, error: BaseException | None) -> bool:
        """Whether there is no use in trying again: because of this error, or since its time is up."""
        if isinstance(job.outcome, Dropped):
            return False  # what it has to do with it is not known yet
        if error is not None and is_for_good(error):
            return True
        return self._clock() >= self._until(job)

    def tell(self, job: Job) -> None:
        """Store its outcome with the note. Raises what the store does."""
        if job.traced is None and not job.silenced and not isinstance(job.outcome, Dropped):
            self._store().tell(job.task_id, job.outcome, job.request)

    def recover(self, job: Job) -> Any:
        """The outcome of a call whose message came again, if something is still owed; else as it is."""
        if not self.is_followed(job):
            return job.outcome
        outcome = self._store().owing(job.task_id)
        if outcome is None:
            return job.outcome
        job.told, job.runtime_s = True, 0.0
        # The chord and the steps after an error were told along with the outcome, or are told again: by the same ids.
        logger.info("call %s has its outcome; what follows it is enqueued now", job.task_id)
        return outcome

    def enqueued(self, job: Job) -> None:
        """Nothing is owed any more."""
        if job.told:
            # What is left expires.
            with suppress(*STORE_ERRORS):
                self._store().paid(job.task_id)

    def abandon(self, job: Job, error: BaseException) -> None:
        """Give up what follows it; its outcome is still to be stored, by the next run of the tracer."""
        *_, embed = job.call_arguments
        replied = isinstance(job.outcome, Reply)
        lost = [*(embed.get("callbacks") or ()), *(embed.get("chain") or ())] if replied else embed.get("errbacks")
        named = ", ".join(f"{one.get('task')} {_id_of(one) or '-'}" for one in lost or ())
        logger.error("call %s: what follows it was not enqueued, for %s: %s", job.task_id, _kind(error), named or "-")
        job.forget(callbacks=None, errbacks=None)
        if replied:
            job.forget(chain=None)
            job.abandoned = lambda: self._fail(lost or (), error)

    def _fail(self, signatures: Any, error: BaseException) -> None:
        """Give these an outcome, for who waits for it."""
        is_unsent = is_for_good(error)
        why = GatewayUnavailableError(
            f"it was not enqueued when the call before it had ended: {_kind(error)}",
            delivery=Delivery.NOT_SENT if is_unsent else Delivery.MAYBE_SENT,
        )
        try:
            self._store().fail_all(signatures, why)
        except STORE_ERRORS:
            raise
        except Exception as failure:
            logger.error("steps that were not enqueued have no outcome: %s", _kind(failure))

    def _until(self, job: Job) -> float:
        """When to give up, on the monotonic clock."""
        until = self._untils.get(job)
        if until is None:
            args, kwargs, _ = job.call_arguments
            now = self._clock()
            try:
                until = Deadline.of(decode(args, kwargs), wall=process_time(), monotonic=now).at
            except ServiceError:
                until = now
            # Never without a few tries, whatever the call's deadline was.
            until = self._untils[job] = max(until, now) + MARGIN_S
        return until


def _id_of(signature: Mapping[str, Any]) -> Any:
    options = signature.get("options")
    return options.get("task_id") if isinstance(options, Mapping) else None


def _kind(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__
