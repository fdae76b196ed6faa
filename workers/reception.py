"""From a message to an execution: what is asked of which service, under which policy, until when."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from time import monotonic
from typing import Any
from uuid import UUID, uuid4, uuid5

from gateway import message_headers
from gateway.catalogue import Catalogue
from gateway.clock import FleetClock
from gateway.codec import decode
from gateway.dead_letter import REPLAY_HEADER, replay_of
from gateway.signing import Claims
from workers.callers import Callers
from workers.deadline import Deadline
from workers.execution import Execution, Fleet, Progress
from workers.observation import Stream

__all__ = ["Reception", "whole"]

#: More than any call can be parked; a larger number was made up.
_MOST_PARKS = 1_000_000
#: Of the ids that a message lacks.
_MADE = UUID("6f0f4a3e-5d5c-4c8a-9a43-2f6c1d1b7e55")


class Reception:
    """Takes messages in. No I/O.

    Args:
        catalogue: the services.
        callers: who may ask.
        clock: the fleet's time.
        worker: this worker's name.
        stream: is told what happens to calls.
    """

    def __init__(
        self, catalogue: Catalogue, callers: Callers, clock: FleetClock, stream: Stream, *, worker: str
    ) -> None:
        self._catalogue = catalogue
        self._callers = callers
        self._clock = clock
        self._worker = worker
        self._stream = stream
        #: Together they name each execution of a call, among those of all workers.
        self._name, self._executions = uuid4().hex, count()

    def verify(
        self, call_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], embed: Mapping[str, Any]
    ) -> Claims | None:
        """Who wrote a message, before anything else of it is read; see `Callers.verify`. On any thread."""
        return self._callers.verify(call_id, args, kwargs, embed)

    def accept(
        self,
        call_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        headers: Mapping[str, Any],
        claims: Claims | None,
        *,
        fleet: Fleet,
        idempotent: Callable[[Execution], Awaitable[bool]],
    ) -> Execution:
        """The execution of a message, as `Performer.perform` gets it.

        Args:
            call_id, args, kwargs, headers: of the message.
            claims: of its signature; None if nobody has to sign.
            fleet: is asked before each attempt.
            idempotent: tells whether an execution may be repeated.

        Raises:
            ServiceError: whoever asks it may not; it is no call, or there is no such service.
        """
        envelope = decode(args, kwargs)
        self._callers.authorise(envelope)
        service = self._catalogue.service_for(envelope.call)
        now, wall = monotonic(), self._clock.now()
        execution = Execution(
            call_id=call_id,
            envelope=envelope,
            service=service,
            policy=service.policy_for(envelope.call),
            deadline=Deadline.of(envelope, wall=wall, monotonic=now),
            # Made of the call's id, so that they are the same after it was parked.
            correlation_id=envelope.correlation_id or uuid5(_MADE, f"correlation {call_id}").hex,
            request_id=envelope.request_id or uuid5(_MADE, f"request {call_id}").hex,
            started=now,
            accepted_at=wall,
            worker=self._worker,
            not_before=_eta(headers.get("eta")),
            claims=claims,
            fleet=fleet,
            idempotent=lambda: idempotent(execution),
            tell=self._stream.tell,
            progress=Progress(owner=f"{self._name}.{next(self._executions)}"),
        )
        progress = execution.progress
        progress.parks = whole(headers.get(message_headers.PARKS))
        progress.maybe_sent = whole(headers.get(message_headers.MAYBE)) > 0
        progress.recorded = headers.get(message_headers.RECORDED) == 1
        progress.replay_of = replay_of(headers.get(REPLAY_HEADER))
        info = headers.get("delivery_info")
        progress.redelivered = isinstance(info, Mapping) and bool(info.get("redelivered"))
        return execution


def whole(header: object) -> int:
    """A small count from a message, whoever wrote it."""
    return header if type(header) is int and 0 <= header < _MOST_PARKS else 0


def _eta(header: object) -> float:
    """Celery's header, ISO 8601 with UTC meant where it says nothing, as Unix seconds; 0 without one."""
    if not isinstance(header, str):
        return 0.0
    try:
        found = datetime.fromisoformat(header)
    except ValueError:  # of another form; whoever made the request from it has waited for it
        return 0.0
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
