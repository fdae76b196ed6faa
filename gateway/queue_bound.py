"""The bound on calls that wait for a service: a producer that is faster than the service is told so at `submit`."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import QueueFullError
from gateway.policy import Limit
from gateway.routing import FRONT_QUEUE, queue_of
from gateway.service import Service

__all__ = ["QueueBound"]

#: Seconds for which a count of waiting calls is taken for true, together with what this process adds to it.
_FRESH_S = 0.1


class _Waiting(Protocol):
    def __call__(self, queue: str, service: str | None, /) -> int: ...


@dataclass(slots=True)
class _Count:
    at: float
    waiting: int


class QueueBound:
    """Refuses calls of a service of which `limit.queue` wait already, in its queue or parked. Any thread may ask.

    Each process counts for itself: what others enqueued in the last tenth of a second it does not know. So the bound
    may be passed by what all producers together submit in that time.

    Args:
        services: of the catalogue; empty for a producer without one, whose calls all share the front queue.
        waiting: asks how many messages wait in a queue, and how many calls of its service are parked.
        now: tells the time, in seconds.
    """

    def __init__(
        self, services: Mapping[str, Service], waiting: _Waiting, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._services = services
        self._waiting = waiting
        self._now = now
        self._counts: dict[str, _Count] = {}
        self._lock = threading.Lock()

    def admit(self, services: Iterable[str]) -> None:
        """Let calls in, one for each name, all or none.

        Raises:
            QueueFullError: too many calls of a service wait.
            GatewayUnavailableError: they cannot be counted, since the broker does not answer.
        """
        wanted = Counter(services) if self._services else Counter({"": sum(1 for _ in services)})
        for service, count in wanted.items():
            self._check(service, count)
        for service, count in wanted.items():
            with self._lock:
                known = self._counts.get(service)
                if known is not None:
                    known.waiting += count

    def _check(self, service: str, count: int) -> None:
        known = self._services.get(service)
        most = (Limit() if known is None else known.policy.limit).queue
        if most is None:
            return
        waiting = self._count(service)
        if waiting + count > most:
            name = f"{service}: " if service else ""
            raise QueueFullError(
                f"{name}{waiting} calls wait, and {count} more would pass the bound of {most} (limit.queue);"
                " submit again later, or look at why the service or its workers do not keep up",
                service=service or None,
                waiting=waiting,
                bound=most,
            )

    def _count(self, service: str) -> int:
        with self._lock:
            known = self._counts.get(service)
            if known is not None and self._now() - known.at < _FRESH_S:
                return known.waiting
        queue = queue_of(service) if service else FRONT_QUEUE
        counted = _Count(self._now(), self._waiting(queue, service or None))
        with self._lock:
            self._counts[service] = counted
        return counted.waiting

    def renew_after_fork(self) -> None:
        """In a forked child: a lock of the parent's may be held."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<QueueBound {len(self._counts)} services counted>"
