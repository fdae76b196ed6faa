"""One look at what the fleet shares: a few round trips to result store and broker, each with a short bound."""

import time
from base64 import b64decode
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.broker import close_app, make_app
from gateway.dead_letters import DeadLetters
from gateway.envelope import MAX_DEADLINE_S
from gateway.fleet import Fleet
from gateway.fleet_view import FleetView
from gateway.publisher import Publisher
from gateway.redis_client import open_sync
from gateway.routing import queue_of
from gateway.settings import Settings

__all__ = ["FleetLook"]

#: Kombu keeps a list for each of these priorities.
_PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")


class FleetLook:
    """Asks each time anew, over connections that it keeps. One thread at a time.

    Args:
        settings: where result store and broker are.
        services: names of the catalogue's.
    """

    def __init__(self, settings: Settings, services: Iterable[str]) -> None:
        self._settings = settings
        self._services = tuple(services)
        self._fleet = Fleet.open(settings.result_url)
        self._dead = DeadLetters.open(settings.result_url)
        self._broker: Any = None
        self._celery: Any = None

    def __call__(self) -> FleetView:
        """Look.

        Raises:
            Exception: of a server that does not answer.
        """
        states = self._fleet.states(self._services)
        if self._settings.broker_is_amqp:
            return FleetView(states=states, queued=self._ask_rabbitmq(), oldest_s={}, dead=self._dead.count())
        queued, oldest = self._ask_redis()
        return FleetView(states=states, queued=queued, oldest_s=oldest, dead=self._dead.count())

    def close(self) -> None:
        """Give the connections back."""
        self._dead.close()
        if self._broker is not None:
            self._broker.close()
        if self._celery is not None:
            close_app(self._celery)
        with self._fleet:
            """That closes it."""

    def _ask_redis(self) -> tuple[dict[str, int], dict[str, float]]:
        if self._broker is None:
            self._broker = open_sync(self._settings.broker_url)
        pipe = self._broker.pipeline(transaction=False)
        for service in self._services:
            for priority in _PRIORITIES:
                pipe.llen(queue_of(service) + priority)
                pipe.lindex(queue_of(service) + priority, -1)
        answers = iter(pipe.execute())
        queued: dict[str, int] = {}
        oldest: dict[str, float] = {}
        now = time.time()
        for service in self._services:
            found = [(next(answers), next(answers)) for _ in _PRIORITIES]
            queued[service] = sum(int(length) for length, _ in found)
            # What a message says of itself may be anything.
            since = now - MAX_DEADLINE_S
            sent = [at for _, raw in found if raw is not None and (at := _sent_at(raw)) is not None and at >= since]
            if sent or not queued[service]:
                oldest[service] = max((now - at for at in sent), default=0.0)
        return queued, oldest

    def _ask_rabbitmq(self) -> dict[str, int]:
        """It does not tell how old a message is."""
        if self._celery is None:
            self._celery = make_app(self._settings)
        publisher = Publisher(self._celery)
        return {service: publisher.waiting(queue_of(service)) for service in self._services}


def _sent_at(raw: bytes) -> float | None:
    """When a message was enqueued, if it says so."""
    try:
        _, kwargs, _ = msgspec.json.decode(b64decode(msgspec.json.decode(raw)["body"]))
        found = kwargs.get("sent_at")
    except (ValueError, TypeError, KeyError, AttributeError):  # it is none of ours, or compressed
        return None
    return float(found) if isinstance(found, int | float) else None
