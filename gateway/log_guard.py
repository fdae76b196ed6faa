"""What this process writes about itself: log lines of any handler, and what Python prints to stderr. No secrets."""

import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from gateway.redaction import RedactingFormatter, Redactor
from gateway.shown import shown

__all__ = ["LogGuard"]

_PLAIN = logging.Formatter()


class LogGuard:
    """Stands where every line passes, so that it holds for handlers that a library adds later, too.

    Those are the one method with which handlers make their lines, the one with which they report that they cannot write
    one, and the hooks for exceptions and warnings that nobody handles. What C libraries write themselves, such as gRPC
    with `GRPC_TRACE`, does not pass here.

    Args:
        redactor: knows the secrets.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._replaced: list[tuple[Any, str, Any]] = []

    def install(self) -> None:
        """From now on, for the whole process."""
        guard = self

        def format_record(handler: logging.Handler, record: logging.LogRecord) -> str:
            return RedactingFormatter(handler.formatter or _PLAIN, guard._redactor).format(record)

        def handle_error(handler: logging.Handler, record: logging.LogRecord) -> None:
            if logging.raiseExceptions:
                line = RedactingFormatter(_PLAIN, guard._redactor).format(record)
                guard._write(f"{shown(handler)} cannot write a line:\n{traceback.format_exc()}{line}\n")

        self._replace(logging.Handler, "format", format_record)
        self._replace(logging.Handler, "handleError", handle_error)
        self._replace(sys, "excepthook", self._uncaught)
        self._replace(sys, "unraisablehook", self._unraisable)
        self._replace(threading, "excepthook", self._uncaught_in_thread)
        self._replace(warnings, "showwarning", self._warned)

    def remove(self) -> None:
        """As it was before."""
        while self._replaced:
            setattr(*self._replaced.pop())

    def _replace(self, place: Any, name: str, by: Callable[..., Any]) -> None:
        self._replaced.append((place, name, getattr(place, name)))
        setattr(place, name, by)

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._write("".join(traceback.format_exception(kind, error, trace)))

    def _uncaught_in_thread(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_type is SystemExit:
            return
        name = args.thread.name if args.thread is not None else "?"
        trace = traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)
        self._write(f"Exception in thread {name}:\n{''.join(trace)}")

    def _unraisable(self, unraisable: "sys.UnraisableHookArgs") -> None:
        trace = traceback.format_exception(unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback)
        what = unraisable.err_msg or "Exception ignored in"
        self._write(f"{what}: {shown(unraisable.object)}\n{''.join(trace)}")

    def _warned(  # the signature is that of `warnings`
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        self._write(warnings.formatwarning(message, category, filename, lineno, line), file)

    def _write(self, text: str, file: TextIO | None = None) -> None:
        stream = sys.stderr if file is None else file
        if stream is None:
            return
        try:
            stream.write(self._redactor.line(text.encode("utf-8", "backslashreplace").decode()))
            stream.flush()
        except (OSError, ValueError):  # it is closed, and there is no other place
            return

    def __repr__(self) -> str:
        return f"<LogGuard {'installed' if self._replaced else 'not installed'}>"
