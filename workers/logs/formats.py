"""The two forms of a line: for people, and as JSON."""

import json
import logging
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from gateway.redaction import SECRETS, RedactingFormatter
from workers.observation.call_context import current_fields

__all__ = ["FORMATS", "format_of", "formatter_of"]

#: What `GATEWAY_LOG_FORMAT` may say; the first one is meant if it says nothing.
FORMATS = ("console", "json")

_Event = MutableMapping[str, Any]
_encoder = msgspec.json.Encoder()
#: Values whose form in JSON is their text.
_PLAIN = frozenset({str, int, float, bool, type(None)})
_HEAD = ("timestamp", "level", "logger", "event")
_extra = ExtraAdder()
#: At the head of a line for people, or below it.
_NOT_FIELDS = frozenset({"timestamp", "level", "logger", "event", "exception", "stack"})


def format_of(environ: Mapping[str, str]) -> str:
    """What `GATEWAY_LOG_FORMAT` says.

    Raises:
        ValueError: it is none of `FORMATS`.
    """
    written = environ.get("GATEWAY_LOG_FORMAT", "").strip().lower()
    if written and written not in FORMATS:
        raise ValueError(f"GATEWAY_LOG_FORMAT is none of {', '.join(FORMATS)}; set it to one of them")
    return written or FORMATS[0]


def formatter_of(form: str) -> logging.Formatter:
    """Formats any record, whoever logs it, and takes secrets out.

    Args:
        form: one of `FORMATS`.
    """
    inner = ProcessorFormatter(
        foreign_pre_chain=[
            # What a line says of itself counts; the call adds what it does not say.
            _add_extra,
            _add_call,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[ProcessorFormatter.remove_processors_meta, _as_json if form == "json" else _for_people],
    )
    return _JsonFormatter(inner) if form == "json" else RedactingFormatter(inner, SECRETS)


class _JsonFormatter(logging.Formatter):
    """Each line is an object, also that of a record which cannot be formatted. `_as_json` takes secrets out."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        try:
            return self._inner.format(record)
        except Exception as error:  # of whatever was given to log
            event: _Event = {
                "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
                "level": record.levelname.lower(),
                "logger": record.name,
                "event": f"a line from {record.pathname}:{record.lineno} cannot be formatted: {record.msg!r:.300}",
                "error": type(error).__name__,
            }
            return _as_json(None, "", {**event, **current_fields()})


def _add_extra(logger: Any, method: str, event: _Event) -> _Event:
    # What it is called, when it was and how bad it is: no field of a library goes before that.
    said = event["event"]
    event = _extra(logger, method, event)
    event["event"] = said
    return event


def _add_call(_: Any, __: str, event: _Event) -> _Event:
    for name, value in current_fields().items():
        event.setdefault(name, value)
    return event


def _as_json(_: Any, __: str, event: _Event) -> str:
    whole = {**{name: event.pop(name, "") for name in _HEAD}, **event}
    if all(type(value) in _PLAIN for value in whole.values()):
        try:
            line = _encoder.encode(whole).decode()
        except UnicodeEncodeError:  # half of a surrogate pair
            line = "\\"
        # Nothing in it is escaped, so whatever there is to find is found in the line too, and at once.
        if "\\" not in line and SECRETS.line(line) == line:
            return _visible(line)
    return _visible(_encoder.encode(SECRETS.fields(whole)).decode())


def _visible(line: str) -> str:
    """The same object, without characters that some readers end a line at, or a terminal obeys."""
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in line)


def _for_people(_: Any, __: str, event: _Event) -> str:
    head = f"{event['timestamp']} {event['level'].upper()} {event.get('logger', '')} {_in_one_line(event['event'])}"
    fields = [
        f"{name}={_quoted(value)}" for name, value in event.items() if name not in _NOT_FIELDS and value is not None
    ]
    # Where an error came from has lines of its own, which are indented: none of them can be taken for another record.
    below = [
        f"\n  {_in_one_line(line)}"
        for name in ("exception", "stack")
        for line in str(event.get(name) or "").splitlines()
    ]
    return " ".join([head, *fields]) + "".join(below)


def _quoted(value: object) -> str:
    text = str(value)
    if '"' in text:
        # Before its own quotes are escaped: what stands between them is found by them.
        text = SECRETS.line(text).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{_in_one_line(text)}"'
    text = _in_one_line(text)
    return f'"{text}"' if " " in text or not text or "=" in text else text


def _in_one_line(value: object) -> str:
    """Whoever's text it is, it cannot begin a line of its own."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
