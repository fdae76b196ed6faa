"""Submits of one caller with one idempotency key share one execution and one result."""

from typing import NamedTuple

from gateway.errors import Delivery, GatewayUnavailableError, InvalidCallError
from gateway.idempotency import Claim, Verdict, decide
from gateway.intake import Draft
from gateway.pending import RESULT_MARGIN_S
from gateway.publisher import Publisher
from gateway.queue_bound import QueueBound
from gateway.results import Results

__all__ = ["Flight", "SingleFlight"]


class Flight(NamedTuple):
    """The call that stands for a submit: its own, or the one that it shares.

    Attributes:
        call_id: its id.
        deadline_at: when nobody waits any more, fleet time; None if that is not written down.
    """

    call_id: str
    deadline_at: float | None


class SingleFlight:
    """Records and enqueues a call whose key is new, and finds the one that it shares where it is not.

    Args:
        results: holds keys and records.
        publisher: enqueues.
        bound: of the calls that wait; who shares a call adds none.
    """

    def __init__(self, results: Results, publisher: Publisher, bound: QueueBound) -> None:
        self._results = results
        self._publisher = publisher
        self._bound = bound

    def submit(self, draft: Draft, claim: Claim, now: float) -> Flight:
        """One round trip to the result store, as without a key; two where a key is free again.

        Raises:
            InvalidCallError: the key was used for another call.
            GatewayUnavailableError: as `Gateway.submit`. The key is given back if the call is not enqueued.
        """
        own = draft.at(now)
        ended = ""
        # Each further round means that another submit took the key meanwhile: then its call is shared.
        while True:
            held, now = self._results.claim(own, claim, instead_of=ended)
            if held is None:
                break
            verdict = decide(held, claim, now=now, margin_s=RESULT_MARGIN_S)
            if verdict is not Verdict.REPLACE:
                if verdict is Verdict.ENQUEUE and held.deadline_at is not None:
                    self._enqueue_again(draft, held.call_id, now, held.deadline_at)
                return Flight(held.call_id, held.deadline_at)
            ended = held.call_id
        try:
            self._bound.admit([draft.call.service])
            self._publisher.send([own])
        except (GatewayUnavailableError, InvalidCallError) as error:
            if error.delivery is Delivery.NOT_SENT and not self._results.release(own.call_id, claim):
                # A submit that shares the call may have enqueued it.
                raise _maybe_enqueued(error, own.call_id) from error
            raise
        return Flight(own.call_id, own.deadline_at)

    def _enqueue_again(self, draft: Draft, call_id: str, now: float, deadline_at: float) -> None:
        """Its worker drops one of the two messages."""
        try:
            self._publisher.send([draft.again(call_id, now, deadline_at)])
        except GatewayUnavailableError as error:
            # Whoever recorded it may have enqueued it.
            raise _maybe_enqueued(error, call_id) from error


def _maybe_enqueued(error: GatewayUnavailableError | InvalidCallError, call_id: str) -> GatewayUnavailableError:
    return GatewayUnavailableError(error.message, delivery=Delivery.MAYBE_SENT, call_id=call_id)
