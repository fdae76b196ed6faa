"""The end of a message that cannot become a call, or that workers do not survive."""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from celery.app.task import Context
from celery.states import READY_STATES
from celery.utils.log import get_logger

from gateway.call_size import MAX_MESSAGE_BYTES
from gateway.dead_letter import DeadLetter, Reason, is_kept
from gateway.dead_letters import DeadLetters, Entry
from gateway.errors import OutcomeUnknownError, ServiceError
from workers.dead import letter_of_refused
from workers.observation.events import CallRefused, Event, LetterKept
from workers.outcome_store import STORE_ERRORS, first_stands, unless
from workers.parked_message import ParkedMessage

__all__ = ["is_usable_id", "lost_connection", "poisoned", "printable", "refuse"]

logger = get_logger(__name__)

_EMBEDDED = ("callbacks", "errbacks", "chain", "chord")
#: Of the ids of letters whose messages have none: made of what is in them, so that a message has one letter.
_MADE = UUID("0b0d6c5a-2d0f-4f0f-8c55-5d1f0a5b2c11")
#: Seconds until a refusal that could not be stored is tried again.
_AGAIN_S = 5.0


def is_usable_id(call_id: object) -> bool:
    """Whether a result can be stored for it, and a log line can show it: short, and printable ASCII alone."""
    return isinstance(call_id, str) and 0 < len(call_id) <= 200 and _is_printable_ascii(call_id)


def printable(name: object) -> str:
    """A name from a message as one short line of printable ASCII; `?` stands for any other character."""
    text = str(name)
    shown = "".join(character if _is_printable_ascii(character) else "?" for character in text[:200])
    return shown if len(text) <= 200 else f"{shown}…"


def _is_printable_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable()


def lost_connection(errors: Iterable[type[BaseException]]) -> tuple[type[BaseException], ...]:
    """The consumer's connection errors that a message cannot raise.

    kombu counts KeyError among those of Redis. One that a message raises would reconnect, and have it delivered again,
    for ever.
    """
    return tuple(kind for kind in errors if not issubclass(kind, LookupError))


def poisoned(deliveries: int) -> OutcomeUnknownError:
    """The error of a message that was delivered so often and never acknowledged."""
    return OutcomeUnknownError(
        f"its message was delivered {deliveries} times, and no worker lived to acknowledge it",
        details={"deliveries": deliveries},
    )


def _context(call_id: str, headers: Mapping[str, Any], payload: object) -> Context:
    """What the backend needs to tell those who wait: error callbacks, the chord, the rest of the chain."""
    context = Context(
        id=call_id,
        task=headers.get("task"),
        group=headers.get("group"),
        group_index=headers.get("group_index"),
        root_id=headers.get("root_id"),
        args=(),
        kwargs={},
    )
    if isinstance(payload, list | tuple) and len(payload) == 3 and isinstance(payload[2], dict):
        context.update({name: payload[2].get(name) for name in _EMBEDDED})
    return context


def refuse(
    consumer: Any, message: Any, error: ServiceError, payload: object = None, reason: Reason = Reason.UNREADABLE
) -> None:
    """Store the error as the call's result, keep a dead letter, and then acknowledge the message.

    A call that has an outcome keeps it. One without a usable id gets a letter alone. As long as the result cannot be
    stored, the message is not acknowledged and that is tried again. Belongs to the hub's thread; what may block is done
    off it. Logs one line, without the message's body.

    Args:
        consumer: which got it.
        message: the kombu message.
        error: what its call ends with.
        payload: its decoded body, as far as it could be decoded.
        reason: for the dead letter.
    """
    headers = message.headers if isinstance(message.headers, dict) else {}
    # Where callers sign, nothing that comes with a message which nobody has verified is acted on.
    trusted = None if consumer.app.conf.get("gateway_callers_sign") else payload
    named = headers.get("id")
    call_id = named if isinstance(named, str) and is_usable_id(named) else None
    if call_id is None:
        logger.error("a message without a usable id was dropped: %s", error.message)
    else:
        logger.error("call %s was refused: %s", call_id, error.message)
    stored = refused = False
    letter: DeadLetter | None = None

    def store() -> None:
        nonlocal stored, refused, letter
        try:
            if call_id is None:
                letter = _bury(consumer.app, _id_of(message), error, message, payload, reason)
                refused = True
            elif not _has_outcome(consumer.app, call_id):
                letter = _bury(consumer.app, call_id, error, message, payload, reason)
                # Who else writes a message with this id may not say what becomes of the call.
                with unless("" if reason is Reason.POISONOUS else "leased"):
                    _store(consumer.app, call_id, error, _context(call_id, headers, trusted))
                refused = True
            stored = True
        except STORE_ERRORS as failure:
            logger.error("the refusal of call %s is not stored yet: %s", call_id, type(failure).__name__)
        except Exception:
            # It would raise again, for ever.
            stored = True
            raise

    def done() -> None:
        if not stored:
            consumer.timer.call_after(_AGAIN_S, begin)
            return
        message.ack_log_error(logger, consumer.connection_errors)
        if refused:
            tell(CallRefused(call_id or _id_of(message), error))
        if letter is not None:
            tell(LetterKept(letter))
        if call_id is not None and consumer.event_dispatcher:
            consumer.event_dispatcher.send("task-failed", uuid=call_id, exception=repr(error))

    tell = getattr(consumer.pool, "tell", _nobody)
    aside = getattr(consumer.pool, "aside", None)

    def begin() -> None:
        if aside is None:
            store()
            done()
        else:
            aside(store, done)

    begin()


def _has_outcome(app: Any, call_id: str) -> bool:
    return app.backend.get_state(call_id) in READY_STATES


def _store(app: Any, call_id: str, error: ServiceError, context: Context) -> None:
    with first_stands():
        try:
            app.backend.mark_as_failure(call_id, error, request=context)
        except (AttributeError, KeyError, TypeError, ValueError):
            # What it embeds is wrong too; the result itself is what counts.
            app.backend.mark_as_failure(call_id, error)


def _nobody(event: Event) -> None:
    """Of a pool that is not ours, nobody observes anything."""


def _bury(
    app: Any, letter_id: str, error: ServiceError, message: Any, payload: object, reason: Reason
) -> DeadLetter | None:
    """Keep a letter, unless there is one that knows more. What goes wrong is logged, and keeps nothing from ending."""
    if not is_kept(type(error)):
        return None
    try:
        if payload is None and reason is Reason.POISONOUS:
            with suppress(Exception):  # whatever a decoder raises: the letter says what is known without
                payload = message.payload
        kwargs = payload[1] if isinstance(payload, list | tuple) and len(payload) > 1 else None
        letter = letter_of_refused(letter_id, error, kwargs, _packed(message), reason)
        # Celery's own has lost what it does not know of, such as a Sentinel's master.
        _letters(app.conf.get("gateway_result_secret_url") or app.conf.result_backend).keep(
            [Entry.of(letter, instead=False)]
        )
    except Exception as failure:
        logger.warning("the dead letter %s is not kept: %s", letter_id, type(failure).__name__)
        return None
    return letter


@lru_cache(maxsize=8)
def _letters(url: str) -> DeadLetters:
    return DeadLetters.open(url)


def _packed(message: Any) -> bytes | None:
    if len(message.body or "") > MAX_MESSAGE_BYTES:
        return None  # it is no call, and its copies are what would hurt
    try:
        return ParkedMessage.of(message).pack()
    except (ValueError, TypeError, LookupError):
        return None


def _id_of(message: Any) -> str:
    """The same for the same message, however often it comes."""
    body = message.body
    raw = bytes(body) if isinstance(body, bytes | bytearray | memoryview) else str(body).encode(errors="replace")
    return f"no-id-{uuid5(_MADE, hashlib.sha256(raw + repr(message.headers).encode(errors='replace')).hexdigest())}"
