"""From a message to a call: what has the wrong shape ends here, as a stored failure, and never in a loop."""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from celery.utils.log import get_logger
from celery.utils.time import maybe_iso8601
from celery.worker.strategy import default

from gateway.errors import InvalidCallError
from workers.refusal import is_usable_id, lost_connection, refuse

__all__ = ["call_strategy", "find_fault"]

logger = get_logger(__name__)

Field = tuple[str, str]


def _is_signature(value: object) -> bool:
    """As Celery writes one: its canvas reads all four, and fails on one that lacks any, when the call has ended."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("task"), str)
        and isinstance(value.get("args"), list | tuple)
        and isinstance(value.get("kwargs"), dict)
        and isinstance(value.get("options"), dict)
    )


def _is_signatures(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_signature, value))


def _is_limit(value: object) -> bool:
    return value is None or (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    )


def _is_time(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return isinstance(maybe_iso8601(value), datetime)
    except (ValueError, TypeError, AttributeError, OverflowError):
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str)


#: Headers of Celery's protocol 2 that the worker itself uses; each may be absent or None.
_HEADERS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "root_id": (_is_text, "a string"),
    "parent_id": (_is_text, "a string"),
    "group": (_is_text, "a string"),
    "group_index": (lambda value: isinstance(value, int), "an integer"),
    "shadow": (lambda value: isinstance(value, str) and len(value) <= 500, "a string of 500 characters at most"),
    "eta": (_is_time, "an ISO 8601 time"),
    "expires": (_is_time, "an ISO 8601 time"),
    "retries": (lambda value: isinstance(value, int), "an integer"),
    "timelimit": (
        lambda value: isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_limit, value)),
        "two numbers of seconds, or null",
    ),
    "stamped_headers": (lambda value: isinstance(value, list) and all(map(_is_text, value)), "a list of strings"),
    "stamps": (lambda value: isinstance(value, dict), "an object"),
    "groups": (lambda value: isinstance(value, list), "a list"),
    "replaced_task_nesting": (lambda value: isinstance(value, int), "an integer"),
}

_SIGNATURES = "a list of signatures with task, args, kwargs and options"

_EMBED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "callbacks": (_is_signatures, _SIGNATURES),
    "errbacks": (_is_signatures, _SIGNATURES),
    "chain": (_is_signatures, _SIGNATURES),
    "chord": (_is_signature, "a signature with task, args, kwargs and options"),
}


def find_fault(headers: Mapping[str, Any], payload: object) -> Field | None:
    """What is wrong with a message of Celery's task protocol 2, as `(field, what it must be)`; None if nothing is."""
    if not is_usable_id(headers.get("id")):
        return "id", "a string of 200 printable ASCII characters at most"
    if not isinstance(payload, list | tuple) or len(payload) != 3:
        return "body", "the list [args, kwargs, embed] of Celery's task protocol 2"
    args, kwargs, embed = payload
    if not isinstance(args, list | tuple):
        return "args", "a list"
    if not isinstance(kwargs, dict):
        return "kwargs", "an object"
    if not isinstance(embed, dict | None):
        return "embed", "an object"
    for where, table in ((headers, _HEADERS), (embed or {}, _EMBED)):
        for field, (is_right, what) in table.items():
            value = where.get(field)
            if value is not None and not is_right(value):
                return field, what
    return None


def call_strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy, for messages of the right shape.

    Args:
        task: the registered `CallTask`.
        app, consumer: as Celery gives them.
    """
    handle = default(task, app, consumer, **options)
    lost = lost_connection(consumer.connection_errors)

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        payload: object = None
        try:
            fault: Field | None = ("body", "a message of Celery's task protocol 2") if body is not None else None
            if fault is None:
                payload = message.payload
                fault = find_fault(message.headers, payload)
            if fault is None:
                return handle(message, None, ack, reject, callbacks, **more)
            field, what = fault
            error = InvalidCallError(f"{field}: it must be {what}", field=field, cure=f"send {what}")
        except lost:
            raise
        except Exception as failure:
            error = InvalidCallError(f"the message cannot be read: {type(failure).__name__}", field="body")
        return refuse(consumer, message, error, payload)

    return on_message
