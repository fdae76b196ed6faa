"""Writes what became of each call to the fleet's history, a few at a time, and never in a call's way."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.call import protocol_of
from gateway.clock import FleetClock
from gateway.errors import ServiceError
from gateway.history import FIELD, KEY, Attempted, HistoryEntry
from gateway.outcome import Failure
from workers.attempt import Answer
from workers.observation.events import (
    AttemptEnded,
    AttemptHeld,
    CallDropped,
    CallEnded,
    CallLeft,
    CallParked,
    CallRefused,
)
from workers.said import said_of_error

if TYPE_CHECKING:
    from workers.execution import Execution

__all__ = ["HistoryWriter"]

_log = logging.getLogger("gateway.history")

#: Seconds between two writes, and that one may take.
_EVERY_S, _PATIENCE_S = 0.1, 2.0
#: Entries that wait for Redis; older ones are lost then, and counted. And entries of one write.
_MOST_WAITING, _MOST_WRITTEN = 5000, 500
#: Calls that left without an end, which comes if they were cancelled.
_MOST_LEFT = 1000
_encoder = msgspec.json.Encoder()


@dataclass(slots=True)
class _Open:
    """What is noted of a call while it runs here."""

    attempts: list[Attempted] = field(default_factory=list)
    held: dict[str, int] = field(default_factory=dict)
    told: bool = False


class HistoryWriter:
    """An observer; it belongs to one event loop.

    Args:
        length: how many entries are kept, about.
        clock: the fleet's time.

    Attributes:
        lost: entries that could not be written.
    """

    name = "history"

    def __init__(self, length: int, clock: FleetClock) -> None:
        self._length = length
        self._clock = clock
        self._client: Any = None
        self._open: dict[str, _Open] = {}
        self._left: dict[str, _Open] = {}
        self._waiting: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None
        self.lost = 0

    @property
    def handlers(self) -> Mapping[type[Any], Callable[[Any], object]]:
        """What it notes."""
        return {
            AttemptHeld: self._on_held,
            AttemptEnded: self._on_attempt,
            CallEnded: self._on_ended,
            CallParked: lambda event: self._write(
                self._entry(event.execution, "parked", why=event.why, until=event.until)
            ),
            CallDropped: lambda event: self._write(self._entry(event.execution, "dropped", why=event.why)),
            CallRefused: self._on_refused,
            CallLeft: self._on_left,
        }

    def start(self, client: Any) -> None:
        """Write from now on, on the running loop.

        Args:
            client: an asyncio client of the results' Redis; it stays its owner's.
        """
        self._client = client

    async def close(self) -> None:
        """Write what is left."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_PATIENCE_S)
        if self._waiting:
            await self._flush()

    def _noted(self, execution: "Execution") -> _Open:
        # Those that never leave, which there should not be, do not pile up: each is a message in this worker.
        return self._open.setdefault(execution.progress.owner, _Open())

    def _on_held(self, event: AttemptHeld) -> None:
        held = self._noted(event.execution).held
        held[event.why] = held.get(event.why, 0) + 1

    def _on_attempt(self, event: AttemptEnded) -> None:
        execution, result = event.execution, event.result
        if isinstance(result, Failure):
            outcome, status = result.error.__name__, result.status
        else:
            outcome, status = ("reply", result.status) if isinstance(result, Answer) else ("cancelled", None)
        self._noted(execution).attempts.append(
            Attempted(
                number=execution.number,
                at=round(self._clock.now() - event.elapsed_s, 3),
                took_s=round(event.elapsed_s, 4),
                outcome=outcome,
                status=status,
                hedge=execution.hedge,
            )
        )

    def _on_ended(self, event: CallEnded) -> None:
        outcome = event.outcome
        if isinstance(outcome, ServiceError):
            self._write(self._entry(event.execution, "error", **_of_error(outcome)))
        else:
            self._write(self._entry(event.execution, "reply", status=outcome.status))

    def _on_refused(self, event: CallRefused) -> None:
        error = event.error
        self._write(
            HistoryEntry(
                at=round(self._clock.now(), 3),
                event="refused",
                call_id=event.call_id,
                correlation_id=event.correlation_id,
                caller=event.caller,
                service=event.service,
                operation=event.operation,
                **_of_error(error),
            )
        )

    def _on_left(self, event: CallLeft) -> None:
        owner = event.execution.progress.owner
        noted = self._open.pop(owner, None)
        if noted is not None and not noted.told:
            while len(self._left) >= _MOST_LEFT:
                del self._left[next(iter(self._left))]
            self._left[owner] = noted

    def _entry(self, execution: "Execution", event: str, **fields: Any) -> HistoryEntry:
        owner = execution.progress.owner
        noted = self._open.get(owner) or self._left.pop(owner, None) or _Open()
        noted.told = True
        envelope, parks = execution.envelope, execution.progress.parks
        sent_at = envelope.sent_at
        return HistoryEntry(
            at=round(self._clock.now(), 3),
            event=event,
            call_id=execution.call_id,
            correlation_id=execution.correlation_id,
            caller=envelope.caller,
            service=execution.service.name,
            operation=execution.operation,
            protocol=protocol_of(execution.call),
            worker=execution.worker,
            queued_s=None if sent_at is None or parks else round(max(0.0, execution.accepted_at - sent_at), 4),
            spent_s=round(execution.spent_s, 4),
            attempts=tuple(noted.attempts),
            held=noted.held,
            parks=parks,
            **fields,
        )

    def _write(self, entry: HistoryEntry) -> None:
        if self._client is None:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(_encoder.encode(entry))
        if self._task is None:
            # Of no call, so that its lines name none.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_EVERY_S)
                await self._flush()
        finally:
            self._task = None

    async def _flush(self) -> None:
        """Write what waits. While Redis is away it goes on waiting, as much as may."""
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(_MOST_WRITTEN, len(self._waiting)))]
            try:
                async with asyncio.timeout(_PATIENCE_S), self._client.pipeline(transaction=False) as pipe:
                    for entry in some:
                        pipe.xadd(KEY, {FIELD: entry}, maxlen=self._length, approximate=True)
                    await pipe.execute()
            except Exception as error:  # whatever it is, no call waits for it
                _log.debug("the history is not written now: %s", type(error).__name__)
                room = _MOST_WAITING - len(self._waiting)
                kept = some[max(0, len(some) - room) :]
                self.lost += len(some) - len(kept)
                self._waiting.extendleft(reversed(kept))
                return


def _of_error(error: ServiceError) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "status": error.status,
        "said": said_of_error(error),
        "delivery": str(error.delivery),
    }
