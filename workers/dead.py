"""How a call that ended for good becomes a dead letter: written before its outcome is stored, and never in its way."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway import message_headers
from gateway.base_call import SERVICE_NAME
from gateway.call import protocol_of
from gateway.codec import decode
from gateway.dead_letter import REPLAY_HEADER, Cause, DeadLetter, Reason, is_kept, replay_of
from gateway.dead_letters import KEEP, Entry, keep_arguments
from gateway.envelope import Envelope
from gateway.errors import Delivery, InvalidCallError, OutcomeUnknownError, ServiceError
from gateway.outcome import Failure
from gateway.routing import correlation_id_of
from workers.execution import Execution
from workers.fleet.batch import Batch
from workers.observation import LetterKept, Stream
from workers.said import said_of

__all__ = ["PATIENCE_S", "DeadLetterOffice", "letter_of_call", "letter_of_refused"]

_log = logging.getLogger("gateway.dead")

#: Seconds within which a letter must have been kept; a call waits no longer for it.
PATIENCE_S = 2.0
#: Letters on their way at once; and bytes of them in one round trip, which holds Redis up for everybody else.
_MOST_WAITING, _MOST_BYTES = 1000, 4 * 1024 * 1024


class DeadLetterOffice:
    """Keeps letters of calls: those that end while Redis is asked share the next round trip. Belongs to one event loop.

    Args:
        client: an asyncio client of the Redis that holds the results; it stays its owner's.
        stream: is told of each letter.
    """

    def __init__(self, client: Any, stream: Stream | None = None) -> None:
        self._stream = stream or Stream()
        self._keep = client.register_script(KEEP)
        self._batch: Batch[Entry, None] = Batch(self._send)
        self._waiting = 0

    async def keep_call(
        self,
        execution: Execution,
        failure: Failure,
        message: Callable[[], bytes],
        *,
        reason: Reason = Reason.FAILED,
    ) -> None:
        """Keep a call that ended with a failure, if that is one to keep.

        What goes wrong is logged; the outcome stays what it is. What has begun is seen through: a cancellation that
        comes meanwhile has no effect.

        Args:
            execution, failure: the call, and what its producer gets.
            message: packs its message, as for parking: from then on nothing else ends the call.
            reason: why it is dead.

        Raises:
            asyncio.CancelledError: `message` says that the call's end is announced already.
        """
        if is_kept(failure.error):
            letter = letter_of_call(execution, failure, _packed(message), reason)
            self._stream.tell(LetterKept(letter))
            await self._put(Entry.of(letter, instead=True))

    async def keep_refused(
        self, call_id: str, error: ServiceError, kwargs: Mapping[str, Any], message: Callable[[], bytes]
    ) -> None:
        """Keep a call that could not be begun, such as one whose arguments cannot be read; otherwise as `keep_call`."""
        if is_kept(type(error)):
            reason = Reason.UNREADABLE if isinstance(error, InvalidCallError) else Reason.FAILED
            letter = letter_of_refused(call_id, error, kwargs, _packed(message), reason)
            self._stream.tell(LetterKept(letter))
            await self._put(Entry.of(letter, instead=False))

    async def close(self) -> None:
        """See through what is under way, for `PATIENCE_S` at most."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._batch.settle()
        except TimeoutError:
            _log.warning("%d dead letters are not kept: the result store does not answer", self._waiting)

    async def _put(self, entry: Entry) -> None:
        if self._waiting >= _MOST_WAITING:
            _log.warning("call %s is dead, and its letter is not kept: too many are on their way", entry.id)
            return
        self._waiting += 1
        answer = self._batch(entry)
        answer.add_done_callback(self._arrived)
        ends = asyncio.get_running_loop().time() + PATIENCE_S
        while not answer.done():
            left = ends - asyncio.get_running_loop().time()
            if left <= 0:
                return
            try:
                await asyncio.wait({answer}, timeout=left)
            except asyncio.CancelledError:
                continue  # the call has its outcome, and ends within `PATIENCE_S`

    def _arrived(self, _: object) -> None:
        self._waiting -= 1

    async def _send(self, entries: Sequence[Entry]) -> list[None]:
        """One round trip, or a few if the letters are large. Never raises."""
        for some in _by_size(entries):
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._keep(**keep_arguments(some))
            except Exception as error:  # whatever it is, the calls have their outcomes
                _log.warning("%d dead letters are not kept: %s, first %s", len(some), type(error).__name__, some[0].id)
        return [None] * len(entries)

    def __repr__(self) -> str:
        return f"<DeadLetterOffice {self._waiting} letters on their way>"


def letter_of_call(execution: Execution, failure: Failure, packed: bytes | None, reason: Reason) -> DeadLetter:
    """The letter of a call that was performed."""
    envelope = execution.envelope
    told = _Told.of(packed)
    return DeadLetter(
        id=execution.call_id,
        reason=reason,
        cause=_cause(failure.error, failure.message, failure.delivery, failure.status, failure.extra.get("cure")),
        service=execution.service.name,
        operation=execution.call.operation,
        protocol=protocol_of(execution.call),
        caller=envelope.caller,
        correlation_id=execution.correlation_id,
        request_id=execution.request_id,
        attempts=tuple(execution.history),
        started=execution.progress.attempts,
        # What may have been sent and may not be repeated ends as `OutcomeUnknownError`, and nothing else does.
        repeatable=failure.delivery is not Delivery.MAYBE_SENT or not issubclass(failure.error, OutcomeUnknownError),
        parks=execution.progress.parks,
        deadline_s=_deadline_s(envelope),
        queue=told.queue,
        message_bytes=0 if packed is None else len(packed),
        message=msgspec.Raw(packed or b"null"),
        replay_of=told.replay_of,
    )


def letter_of_refused(
    letter_id: str, error: ServiceError, kwargs: object, packed: bytes | None, reason: Reason
) -> DeadLetter:
    """The letter of a message that did not become a call, whatever is in it.

    Where it is not valid, anything may stand in the place of an operation, such as a route with a query in it: then the
    names of service and protocol are all that is told of it.
    """
    fields: Mapping[Any, Any] = kwargs if isinstance(kwargs, Mapping) else {}
    asked, told = fields.get("call"), _Told.of(packed)
    call: Mapping[Any, Any] = asked if isinstance(asked, Mapping) else {}
    service, protocol = call.get("service"), call.get("protocol")
    letter = DeadLetter(
        id=letter_id,
        reason=reason,
        cause=_cause(type(error), error.message, error.delivery, error.status, error.fields.get("cure")),
        service=service if isinstance(service, str) and SERVICE_NAME.fullmatch(service) else None,
        protocol=protocol if protocol in ("rest", "grpc", "graphql") else None,
        correlation_id=correlation_id_of(fields),
        repeatable=error.delivery is Delivery.NOT_SENT,
        parks=told.parks,
        queue=told.queue,
        message_bytes=0 if packed is None else len(packed),
        message=msgspec.Raw(packed or b"null"),
        replay_of=told.replay_of,
    )
    try:
        envelope = decode((), fields)
    except InvalidCallError:
        return letter
    return msgspec.structs.replace(
        letter,
        operation=envelope.call.operation,
        caller=envelope.caller,
        request_id=envelope.request_id,
        deadline_s=_deadline_s(envelope),
    )


def _deadline_s(envelope: Envelope) -> float | None:
    if envelope.deadline_at is None or envelope.sent_at is None:
        return envelope.deadline_s
    return max(0.0, envelope.deadline_at - envelope.sent_at) or None


class _Headers(msgspec.Struct, rename={"replay_of": REPLAY_HEADER, "parks": message_headers.PARKS}):
    replay_of: Any = None
    parks: Any = 0


class _Told(msgspec.Struct):
    """What a packed message tells without a look at its body."""

    queue: str = ""
    headers: _Headers = msgspec.field(default_factory=_Headers)

    @classmethod
    def of(cls, packed: bytes | None) -> "_Told":
        try:
            return msgspec.json.decode(packed or b"{}", type=cls)
        except (msgspec.DecodeError, UnicodeError):
            return cls()

    @property
    def replay_of(self) -> str | None:
        return replay_of(self.headers.replay_of)

    @property
    def parks(self) -> int:
        return self.headers.parks if type(self.headers.parks) is int else 0


def _cause(
    error: type[ServiceError], message: str, delivery: Delivery, status: int | str | None, cure: object
) -> Cause:
    line = said_of(error, message, delivery, status, cure)
    return Cause(type=error.__name__, message=line, delivery=delivery, status=status)


def _packed(message: Callable[[], bytes]) -> bytes | None:
    """The message; None if it cannot be packed, as when it is no text."""
    try:
        return message()
    except Exception as error:  # the call is over; a letter without a message is better than none
        _log.warning("a dead call's message cannot be kept: %s", type(error).__name__)
        return None


def _by_size(entries: Sequence[Entry]) -> list[list[Entry]]:
    parts: list[list[Entry]] = []
    size = _MOST_BYTES
    for entry in entries:
        if size + len(entry.letter) > _MOST_BYTES and (not parts or parts[-1]):
            parts.append([])
            size = 0
        parts[-1].append(entry)
        size += len(entry.letter)
    return parts
