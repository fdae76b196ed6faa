"""What the worker's hub is to do next, posted by any thread."""

import logging
import os
import select
from collections import deque
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Bell"]

logger = logging.getLogger(__name__)


class Bell:
    """A queue of steps, and a pipe that wakes whoever polls it.

    A pipe of its own outlives a reset of the hub after a lost connection: the byte in it wakes the hub again as soon as
    the pipe is registered anew, and until then the steps wait.
    """

    def __init__(self) -> None:
        self._steps: deque[Callable[[], object]] = deque()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """The end to poll for reading."""
        return self._reader

    def post(self, step: Callable[[], object]) -> None:
        """Have a step done on the hub's thread. Any thread may call it."""
        self._steps.append(step)
        self.ring()

    def ring(self) -> None:
        """Wake the hub."""
        # Full: it is awake already. Closed: a late thread of a worker that has stopped.
        with suppress(BlockingIOError, OSError):
            os.write(self._writer, b"\0")

    def wait(self, timeout_s: float) -> None:
        """Sleep until it rings, `timeout_s` at most."""
        select.select([self._reader], [], [], timeout_s)

    def answer(self) -> None:
        """Do what was posted, on the hub's thread."""
        # Emptied before the steps are taken, so that no ring is lost.
        with suppress(BlockingIOError, OSError):
            os.read(self._reader, 65536)
        while True:
            try:
                step = self._steps.popleft()
            except IndexError:
                return
            try:
                step()
            except Exception as error:
                # A lost broker connection shows in the hub's own reads; the steps behind this one must not be lost.
                logger.error("a finished task was not announced: %s", type(error).__name__, exc_info=True)
