"""A broker, a result store, a client and as many workers on our pool as a test needs."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from celery.result import AsyncResult

from gateway.broker import close_app
from gateway.dev.valkey import Valkey
from tests.integration.pool_app import make
from tests.servers.worker import Worker

__all__ = ["Rig", "eventually"]

CALL = {"protocol": "rest", "service": "user-service", "method": "GET", "route": "/users/{user_id}"}


def eventually(holds: Callable[[], Any], what: str, timeout: float = 15.0) -> Any:
    """Wait until a condition holds and give its value."""
    ends = time.monotonic() + timeout
    while not (value := holds()):
        assert time.monotonic() < ends, f"not within {timeout:g} s: {what}"
        time.sleep(0.02)
    return value


class Rig:
    """Databases 1 (broker) and 2 (results) of a server, emptied."""

    def __init__(self, valkey: Valkey, folder: Path, results: Valkey | None = None) -> None:
        self.folder = folder
        self.urls = (valkey.url(1), (results or valkey).url(2))
        self.broker: redis.Redis = redis.Redis.from_url(self.urls[0], decode_responses=True)
        self.results: redis.Redis = redis.Redis.from_url(self.urls[1], decode_responses=True)
        self.broker.flushdb()
        self.results.flushdb()
        self.app = make(*self.urls)
        self.journal = folder / "journal"
        self.journal.touch()
        self.workers: list[Worker] = []

    def worker(
        self, *, conf: dict[str, Any] | None = None, env: dict[str, str] | None = None, **options: Any
    ) -> Worker:
        """Start a worker."""
        told = {
            "POOL_BROKER": self.urls[0],
            "POOL_RESULT": self.urls[1],
            "POOL_JOURNAL": str(self.journal),
            "POOL_CONF": json.dumps(conf or {}),
        }
        worker = Worker("tests.integration.pool_app", self.folder, env=told | (env or {}), **options)
        self.workers.append(worker)
        return worker

    def send(self, _options: dict[str, Any] | None = None, **do: Any) -> AsyncResult[Any]:
        """Enqueue a call."""
        kwargs = {"call": CALL, "correlation_id": "order-42", "do": do}
        return self.app.send_task("gateway.call", kwargs=kwargs, **(_options or {}))

    def raw(self, body: str, headers: Any, *, queue: str = "calls", **envelope: Any) -> None:
        """Put a message into a queue as it is."""
        message = {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": {
                "delivery_tag": str(uuid4()),
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
            },
        }
        self.broker.lpush(queue, json.dumps(message | envelope))

    def happened(self, event: str) -> list[str]:
        """Ids of the calls in the journal's lines of one kind, in order."""
        text = self.journal.read_text()
        # The last line may be on its way.
        lines = (line.split() for line in text[: text.rfind("\n") + 1].splitlines())
        return [call_id for kind, call_id in lines if kind == event]

    def unacked(self) -> int:
        """Messages that a worker took and did not acknowledge."""
        return int(self.broker.hlen("unacked"))

    def queued(self, queue: str = "calls") -> int:
        """Messages that lie in a queue."""
        return int(self.broker.llen(queue))

    def acknowledged(self) -> None:
        """Wait until nothing is left, neither queued nor unacknowledged."""
        eventually(lambda: not self.queued() and not self.unacked(), "every message is acknowledged")

    def pool_info(self, worker: Worker) -> dict[str, Any]:
        """What the pool says of itself."""
        stats = self.app.control.inspect([worker.name], timeout=3).stats() or {}
        found: dict[str, Any] = stats[worker.name]["pool"]
        return found

    def close(self) -> None:
        """Stop all that it started."""
        for worker in self.workers:
            worker.kill()
        close_app(self.app)
        self.broker.close()
        self.results.close()
