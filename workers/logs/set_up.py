"""Logging of a worker's process: one form for all lines, and nothing past it."""

import logging
import sys
import threading
from types import TracebackType

from workers.logs.formats import formatter_of
from workers.outage_log import OutageFilter

__all__ = ["set_up"]

_log = logging.getLogger("gateway.worker")


def set_up(form: str, *, level: int | str | None = None, file: str | None = None) -> None:
    """One line for each call, from us; Celery's own lines about each task would repeat it.

    Args:
        form: one of `workers.logs.FORMATS`.
        level: by default INFO.
        file: to append to; by default standard error.
    """
    logging.basicConfig(level=level or logging.INFO, filename=file)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter_of(form))
    # What nobody caught goes the same way: the interpreter would print it as it is.
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    logging.getLogger("celery.backends.base").addFilter(OutageFilter())
    # It warns of the queue that is shared with other applications, which declare its exchange as it is.
    logging.getLogger("kombu.transport.native_delayed_delivery").setLevel(logging.ERROR)
    for noisy in ("celery.app.trace", "celery.worker.strategy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None, where: str = "the main thread"
) -> None:
    if issubclass(kind, Exception):
        _log.critical("%s ended with %s", where, kind.__name__, exc_info=(kind, error, traceback))
    else:
        sys.__excepthook__(kind, error, traceback)


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        name = "a thread" if args.thread is None else args.thread.name
        _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback, where=name)
