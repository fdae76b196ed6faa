"""The end of a message that cannot become a call."""

from collections.abc import Iterable, Mapping
from typing import Any

from celery.app.task import Context
from celery.utils.log import get_logger

from gateway.errors import InvalidCallError

__all__ = ["is_usable_id", "lost_connection", "printable", "refuse"]

logger = get_logger(__name__)

_EMBEDDED = ("callbacks", "errbacks", "chain", "chord")


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


def refuse(consumer: Any, message: Any, error: InvalidCallError, payload: object = None) -> None:
    """Store the error as the call's result, and acknowledge the message; reject it where it has no usable id.

    Belongs to the hub's thread; the result is stored off it. Logs one line, without the message's body.
    """
    headers = message.headers if isinstance(message.headers, dict) else {}
    call_id = headers.get("id")
    if not isinstance(call_id, str) or not is_usable_id(call_id):
        logger.error("a message without a usable id was dropped: %s", error.message)
        message.reject_log_error(logger, consumer.connection_errors)
        return
    logger.error("call %s was refused: %s", call_id, error.message)

    def done() -> None:
        message.ack_log_error(logger, consumer.connection_errors)
        if consumer.event_dispatcher:
            consumer.event_dispatcher.send("task-failed", uuid=call_id, exception=repr(error))

    def store() -> None:
        try:
            consumer.app.backend.mark_as_failure(call_id, error, request=_context(call_id, headers, payload))
        except (AttributeError, KeyError, TypeError, ValueError):
            # What it embeds is wrong too; the result itself is what counts.
            consumer.app.backend.mark_as_failure(call_id, error)

    aside = getattr(consumer.pool, "aside", None)
    if aside is None:
        store()
        done()
    else:
        aside(store, done)
