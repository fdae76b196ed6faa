"""Tells events to whoever observes them; what goes wrong there stays there."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from workers.observation.events import Event

__all__ = ["Observer", "Stream"]

_log = logging.getLogger("gateway.observers")

#: Failures of one observer that are logged with their traceback; all are counted.
_LOGGED = 3


class Observer(Protocol):
    """Follows events. It is called on the loop, so it is quick and never waits."""

    @property
    def name(self) -> str:
        """For operators: who failed."""
        ...

    @property
    def handlers(self) -> Mapping[type[Any], Callable[[Any], object]]:
        """What it does for each type of event; it is told of no others."""
        ...


class Stream:
    """One of each worker.

    Args:
        observers: who is told, in this order.

    Attributes:
        failures: how often each observer raised, by its name.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self.failures: Counter[str] = Counter()
        self._handlers: dict[type[Any], list[tuple[str, Callable[[Any], object]]]] = {}
        for observer in observers:
            self.add(observer)

    def add(self, observer: Observer) -> None:
        """Tell this one too, after the others."""
        for kind, handler in observer.handlers.items():
            self._handlers.setdefault(kind, []).append((observer.name, handler))

    def tell(self, event: Event) -> None:
        """Tell everybody who wants to know. Never raises."""
        for name, handler in self._handlers.get(type(event), ()):
            try:
                handler(event)
            except Exception as error:  # whatever it is: no call fails since somebody looks at it
                self.failures[name] += 1
                if self.failures[name] <= _LOGGED:
                    # Without the error's own text, which may hold something of the call.
                    _log.warning("the observer %s raised %s", name, type(error).__name__)
                    _log.debug("the observer %s raised", name, exc_info=True)

    def __repr__(self) -> str:
        return f"<Stream to {sorted({name for told in self._handlers.values() for name, _ in told})}>"
