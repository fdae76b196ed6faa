"""What arrived: counts, and the headers that callers sent."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["Journal"]

#: Headers that are kept; a key is never among them.
_KEPT = ("x-correlation-id", "x-request-id", "traceparent", "tracestate", "idempotency-key", "user-agent")
_LATEST = 5000


class Journal:
    """The requests that arrived; every request of a protocol passes here before it is treated in any way."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._arrivals: deque[dict[str, Any]] = deque(maxlen=_LATEST)
        self._last: dict[str, dict[str, Any]] = {}
        self._in_flight = 0
        self._most_in_flight = 0

    @contextmanager
    def request(self, operation: str, headers: Mapping[str, str], timeout_s: float | None = None) -> Iterator[None]:
        """Around one request.

        Args:
            operation: what it asks for, such as `GET /users/{user_id}`.
            headers: names in lower case.
            timeout_s: how long the caller says that it waits (gRPC).
        """
        arrival: dict[str, Any] = {name: headers[name] for name in _KEPT if name in headers}
        if timeout_s is not None:
            arrival["timeout_s"] = timeout_s
        self._requests[operation] += 1
        self._last[operation] = arrival
        self._arrivals.append({"operation": operation, **arrival})
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1

    def stats(self) -> dict[str, Any]:
        """Requests by operation, the headers of the last one of each, and how many were in flight at once."""
        return {
            "requests": dict(self._requests),
            "last": self._last,
            "in_flight": self._in_flight,
            "most_in_flight": self._most_in_flight,
        }

    def arrivals(self, correlation_id: str) -> list[dict[str, Any]]:
        """Each of the latest requests that came with a correlation id, oldest first."""
        return [arrival for arrival in self._arrivals if arrival.get("x-correlation-id") == correlation_id]
