"""How parked calls come back: a thread in every worker that publishes the messages of those that may go on.

All workers run one. What a call waits for is decided in Redis (`workers/fleet/claim.lua`), which claims a call for one
of them at a time; a claim whose owner died ends by itself, and the call is published by another. It may be published
twice then: both messages have the same `gateway_parks`, by which the second one is known for a duplicate.

A call whose service left the catalogue comes back when its deadline has passed, to a queue that this worker listens on,
so that it ends with an outcome: other workers may know its service until then.
"""

import logging
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from celery import Celery, bootsteps
from celery.states import READY_STATES
from kombu import Producer
from kombu.exceptions import SerializationError

from gateway.broker import BROKER_ERRORS
from gateway.errors import Delivery, GatewayFaultError
from gateway.policy import Policy
from gateway.records import key_of
from gateway.redis_client import open_sync
from gateway.routing import FRONT_QUEUE, queue_of
from workers.fleet.script import Script
from workers.parked_message import ParkedMessage

__all__ = ["Unparker", "unparker_step"]

_log = logging.getLogger("gateway.parking")

#: Seconds between two looks: while calls are parked, while none is, and after a failure.
_POLL_S, _IDLE_S, _FAILED_S = 0.1, 0.5, 1.0
#: Seconds until a claim ends; it may end sooner, with the call's deadline.
CLAIM_S = 10.0
#: The part of it in which its owner still counts on it.
_TRUSTED = 2 / 3
#: Seconds that a broker may take to answer.
_BROKER_S = 5.0
_BATCH = 1000

#: Service, id, how often it was parked, message, and the seconds until the claim ends.
Claim = tuple[str, str, int, str, float]


class _Answer(msgspec.Struct):
    claimed: list[Claim] | dict[str, Any]
    parked: int
    more: bool


class Unparker:
    """Brings parked calls back. One thread; it survives whatever goes wrong.

    Args:
        app: whose broker and queues are used.
        redis_url: the Redis that holds the parked calls.
        policies: of the services, by name; parked calls of other services come back after their deadlines alone.
        claim_s: how long a call that was claimed waits for its owner at most, before another one may claim it.
    """

    def __init__(
        self, app: Celery, redis_url: str, policies: Mapping[str, Policy], *, claim_s: float = CLAIM_S
    ) -> None:
        self._claim_s = claim_s
        self._app = app
        self._redis: Any = open_sync(redis_url)
        self._known = frozenset(policies)
        self._gates = [_gate(name, policy) for name, policy in policies.items()]
        self._claim, self._claimed = Script("claim.lua"), Script("claimed.lua")
        self._connection: Any = None
        self._producer: Any = None
        self._unsent: list[Claim] = []
        self._claimed_at = 0.0
        self._stopped = threading.Event()
        self._failed = ""
        self._thread = threading.Thread(target=self._run, name="gateway-unparker", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End. What is claimed and not published yet comes back when the claim ends."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopped.wait(wait_s):
            try:
                wait_s = self._turn()
                self._failed = ""
            except Exception as error:
                self._tell(error)
                self._disconnect()
                wait_s = _FAILED_S
        self._disconnect()
        self._redis.close()

    def _tell(self, error: Exception) -> None:
        """One line, and not the same one again and again."""
        kind = type(error).__name__
        if kind == self._failed:
            return
        self._failed = kind
        if isinstance(error, BROKER_ERRORS):
            _log.warning("parked calls wait: the broker or the result store does not answer (%s: %s)", kind, error)
        else:
            # Where, and no text: that may hold something of a message.
            where = traceback.extract_tb(error.__traceback__)[-1]
            _log.error("a defect in the unparker: %s at %s:%s", kind, where.filename, where.lineno)

    def _turn(self) -> float:
        """Look once; seconds until the next look."""
        # Before anything is claimed: calls do not wait for a claim to end because the broker is away.
        self._connect()
        age_s = time.monotonic() - self._claimed_at
        self._unsent = [claim for claim in self._unsent if age_s < claim[4] * _TRUSTED]
        parked, more = 1, False
        if not self._unsent:
            # Another one first each time, since an answer may be full before the last.
            self._gates = self._gates[1:] + self._gates[:1]
            document = msgspec.json.encode({"claim_s": self._claim_s, "services": self._gates})
            self._claimed_at = time.monotonic()
            answer = msgspec.json.decode(self._claim.run_sync(self._redis, document), type=_Answer)
            self._unsent = list(answer.claimed) if isinstance(answer.claimed, list) else []
            parked, more = answer.parked, answer.more
        if self._unsent:
            self._publish(self._unsent)
            done = [claim[:3] for claim in self._unsent]
            self._claimed.run_sync(self._redis, msgspec.json.encode(done))
            self._unsent = []
        if more:
            return 0.0
        return _POLL_S if parked else _IDLE_S

    def _connect(self) -> None:
        if self._producer is not None:
            return
        self._connection = self._app.connection_for_write()
        self._connection.ensure_connection(max_retries=1, timeout=_BROKER_S)
        self._producer = Producer(self._connection, auto_declare=False)

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            # It is lost; how it ends is of no interest.
            with suppress(Exception):
                connection.collect()

    def _publish(self, claims: Iterable[Claim]) -> None:
        lost: list[tuple[str, str, str]] = []
        with self._producer.batch(max_size=_BATCH):
            for service, call_id, _, packed, _ in claims:
                try:
                    self._publish_one(service, ParkedMessage.unpack(packed))
                except Exception as error:
                    if isinstance(error, BROKER_ERRORS) and not isinstance(error, SerializationError):
                        raise
                    # It would hold up all others for ever.
                    lost.append((service, call_id, type(error).__name__))
        for service, call_id, why in lost:
            self._end(service, call_id, why)

    def _end(self, service: str, call_id: str, why: str) -> None:
        """The end of a call whose message is none any more."""
        _log.error("call %s is lost: its parked message cannot be read (%s)", call_id, why)
        # A copy of a message has no record, and its call runs elsewhere. What has an outcome keeps it.
        if not self._redis.exists(key_of(call_id)) or self._app.backend.get_state(call_id) in READY_STATES:
            return
        error = GatewayFaultError(
            f"the call was parked, and its message cannot be read any more ({why})",
            service=service,
            delivery=Delivery.MAYBE_SENT,
            call_id=call_id,
        )
        self._app.backend.mark_as_failure(call_id, error)

    def _queue_of(self, service: str, message: ParkedMessage) -> str:
        """Where the message goes: back, or, if its service is not known here, to where this worker takes it."""
        queues: Any = self._app.amqp.queues
        if service in self._known:
            return message.queue if message.queue in queues else queue_of(service)
        # The service's own queue may have no consumer any more.
        listened: Mapping[str, Any] = queues.consume_from
        places = (message.queue, FRONT_QUEUE, *(name for name in listened if name.startswith(f"{FRONT_QUEUE}.")))
        return next((name for name in places if name in listened), next(iter(listened), FRONT_QUEUE))

    def _publish_one(self, service: str, message: ParkedMessage) -> None:
        queues: Any = self._app.amqp.queues
        name = self._queue_of(service, message)
        properties = {key: value for key, value in message.properties.items() if value is not None}
        self._producer.publish(
            message.body,
            routing_key=name,
            headers=message.headers,
            # The queue must be there: RabbitMQ drops what it cannot route.
            declare=[queues[name]] if name in queues else None,
            timeout=_BROKER_S,
            confirm_timeout=_BROKER_S,
            **properties,
        )

    def __repr__(self) -> str:
        return f"<Unparker {len(self._gates)} services, {len(self._unsent)} on their way>"


def _gate(name: str, policy: Policy) -> dict[str, Any]:
    """What the script has to know of a service."""
    return {
        "name": name,
        "interval": policy.limit.interval_s,
        "concurrency": policy.limit.concurrency,
        "adaptive": policy.limit.adaptive,
        "breaker": policy.breaker.enabled,
        "probes": policy.breaker.probe_count,
    }


def unparker_step(
    redis_url: str, policies: Mapping[str, Policy], *, claim_s: float = CLAIM_S
) -> type[bootsteps.StartStopStep]:
    """The step that runs an `Unparker` in a worker: `app.steps["worker"].add(unparker_step(…))`.

    Args: as `Unparker` takes them.
    """

    class UnparkerStep(bootsteps.StartStopStep):
        """Starts with the pool, and ends before it."""

        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self.unparker: Unparker | None = None

        def start(self, parent: Any) -> None:
            self.unparker = Unparker(parent.app, redis_url, policies, claim_s=claim_s)
            self.unparker.start()

        def stop(self, parent: Any) -> None:
            if self.unparker is not None:
                self.unparker.stop()
                self.unparker = None

        terminate = stop

    return UnparkerStep
