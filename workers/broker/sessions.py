"""The sessions of this process."""

import os
import threading
from collections.abc import Callable
from typing import Any

from workers.broker.session import Session

__all__ = ["Sessions", "sessions"]


class Sessions:
    """One for each broker; a forked child has its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[Any, ...], Session] = {}

    def of(self, broker: tuple[Any, ...], make: Callable[[], Session]) -> Session:
        """The one for a broker, made if there is none."""
        key = (os.getpid(), *broker)
        with self._lock:
            session = self._open.get(key)
            if session is None or session.over:
                session = self._open[key] = make()
            return session

    def end(self, timeout_s: float = 3.0) -> None:
        """End them all: this process takes no more messages."""
        with self._lock:
            mine = [key for key in self._open if key[0] == os.getpid()]
            ended = [self._open.pop(key) for key in mine]
        for session in ended:
            session.end(timeout_s)


#: All of them.
sessions = Sessions()
