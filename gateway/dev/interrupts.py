"""Ctrl-C and SIGTERM as one exception that comes once, and never between a child's start and its registration."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupted", "Interrupts"]


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM came. It is a KeyboardInterrupt because asyncio lets only that and SystemExit out of a task.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count."""
        return 128 + self.number


class Interrupts:
    """While entered, the first SIGINT or SIGTERM raises `Interrupted` in the main thread; later ones are ignored.

    The later ones come from people who press Ctrl-C twice, and must not break off the stopping of what was started.
    """

    def __init__(self) -> None:
        self._held = 0
        self._came: int | None = None
        self._raised = False
        self._before: dict[int, Any] = {}
        self._unraisable: Any = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Put an interruption off until the end of the block."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        self._raise()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._came is None:
            self._came = number
            self._raise()

    def _raise(self) -> None:
        if self._came is not None and not self._held and not self._raised:
            self._raised = True
            raise Interrupted(self._came)

    def _swallowed(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """It came while an object was collected, where Python drops every exception: it comes again in a moment."""
        if not isinstance(unraisable.exc_value, Interrupted):
            self._unraisable(unraisable)
            return
        number = unraisable.exc_value.number
        self._came, self._raised = None, False
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()

    def __enter__(self) -> Self:
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._swallowed
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._unraisable
