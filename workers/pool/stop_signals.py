"""Signals that stop the worker, answered where nothing else is half-done.

Celery does the work of a cold or soft stop in the signal handler: it waits for calls, cancels them, tells the broker.
The handler interrupts the main thread anywhere, also in the middle of that thread's own talk to the broker or under the
lock of the event dispatcher, which it then waits for without end. Here the handler only leaves a note, and the hub does
the work with its next step.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from workers.pool.bell import Bell

__all__ = ["StopSignals"]

_NAMES = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
#: The first stops the worker, the second hurries it. Any further one ends it at once, whatever it is doing.
_MOST = 2


class StopSignals:
    """Belongs to the main thread.

    Args:
        bell: has the hub answer.
    """

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._heard = 0
        self._noted: Callable[[], None] | None = None
        self._answered = 0

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Within it the bell is answered, so that a signal may wait for that. Elsewhere its handler runs at once."""
        self.install()
        self._heard += 1
        try:
            yield
        finally:
            self._heard -= 1
            if not self._heard:
                # It came as the loop was left, for a connection that broke: nobody rings here any more.
                self._answer_noted()

    def install(self) -> None:
        """Stand before the handlers there are; Celery installs others as the stop goes on."""
        if threading.current_thread() is not threading.main_thread() or self._answered >= _MOST:
            return
        for number in _NAMES:
            handler = signal.getsignal(number)
            if callable(handler) and not isinstance(handler, _Note):
                signal.signal(number, _Note(self, handler))

    def note(self, handler: Callable[..., Any], number: int, frame: Any) -> None:
        """A signal has come."""
        if self._heard and self._noted is None:
            self._noted = partial(self._answer, handler, number, None)
            self._bell.post(self._answer_noted)
        else:
            self._answer(handler, number, frame)

    def _answer_noted(self) -> None:
        noted, self._noted = self._noted, None
        if noted is not None:
            noted()

    def _answer(self, handler: Callable[..., Any], number: int, frame: Any) -> None:
        self._noted = None
        self._answered += 1
        if self._answered >= _MOST:
            _leave()
        try:
            handler(number, frame)
        finally:
            self.install()


class _Note:
    """In the place of a handler."""

    def __init__(self, signals: StopSignals, handler: Callable[..., Any]) -> None:
        self._signals = signals
        self.handler = handler

    def __call__(self, number: int, frame: Any) -> None:
        self._signals.note(self.handler, number, frame)


def _leave() -> None:
    """Stand before the handlers no longer."""
    for number in _NAMES:
        handler = signal.getsignal(number)
        if isinstance(handler, _Note):
            signal.signal(number, handler.handler)
