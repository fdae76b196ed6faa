"""All that a worker does with an entry of a queue until its call would go to the network, in one thread."""

import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from celery import Celery
from celery.backends import cache
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.transport import virtual
from kombu.transport.memory import Channel as MemoryChannel

from gateway.catalogue import Catalogue
from gateway.clock import FleetClock
from gateway.errors import ServiceError
from tests.unit.workers.executions import ScriptedFleet
from workers import refusal
from workers.broker.entry import parse, stand_in
from workers.callers import Callers
from workers.consumer import GatewayConsumer
from workers.execution import Execution
from workers.job import Job
from workers.observation import Stream
from workers.parked_message import ParkedMessage
from workers.pool.ending import cancelled_unsent, expired_unsent
from workers.reception import Reception
from workers.task import CallTask

__all__ = ["CATALOGUE", "Desk"]

CATALOGUE = {
    "services": {
        "users": {
            "rest": {"url": "http://users"},
            "graphql": {"url": "http://users/graphql"},
            "grpc": {"target": "users:1", "reflection": True},
        }
    }
}
#: What Celery keeps for servers elsewhere; the stubs know neither.
_STORED: dict[Any, Any] = vars(cache)["_DUMMY_CLIENT_CACHE"]
_SCHEDULED: WeakSet[Any] = vars(state)["scheduled_requests"]
_BASE64 = virtual.Base64()
_FORGET_EVERY = 5000


class _Channel:
    """What a message asks of its channel."""

    no_ack_consumers = None

    def __init__(self) -> None:
        self.ends: list[str] = []

    def decode_body(self, body: Any, encoding: str | None = None) -> Any:
        return _BASE64.decode(body) if encoding == "base64" else body

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        self.ends.append("acknowledged")

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self.ends.append("given back" if requeue else "rejected")


class _Timer:
    """Takes what is to happen later."""

    def __init__(self) -> None:
        self.later: list[Any] = []

    def call_at(self, eta: float, action: Callable[..., Any], args: Any = (), **options: Any) -> object:
        self.later.append(args)
        return object()

    call_after = call_at


class _Letters:
    """Takes dead letters."""

    def __init__(self) -> None:
        self.kept = 0

    def keep(self, entries: Any) -> None:
        self.kept += len(entries)


class _Pool:
    """Goes with each call to where it would be executed."""

    flush = None
    is_green = False

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._fleet = ScriptedFleet()
        self.ended = ""

    def aside(self, store: Callable[[], None], done: Callable[[], None]) -> None:
        store()
        done()

    def _job(self, target: Any, args: Any, options: Any) -> Job:
        return Job.of(target, args, options, lambda job: None)

    def apply_async(self, target: Any, args: Any, kwargs: Any = None, **options: Any) -> Job:
        job = self._job(target, args, options)
        given, named, embed = job.call_arguments
        packed = ParkedMessage.of(job.source).pack()
        ParkedMessage.unpack(b'{"parks":1,"maybe":0,' + packed[1:])
        try:
            claims = self._reception.verify(job.task_id, given, named, embed)
            self._reception.accept(
                job.task_id, given, named, job.request, claims, fleet=self._fleet, idempotent=_is_idempotent
            )
        except ServiceError as error:
            self.ended = type(error).__name__
        else:
            self.ended = "accepted"
        return job

    def refuse(self, target: Any, args: Any, *, expired: bool, **options: Any) -> Job:
        job = self._job(target, args, options)
        self.ended = type(expired_unsent(job) if expired else cancelled_unsent(job)).__name__
        return job


async def _is_idempotent(execution: Execution) -> bool:
    return False


class Desk:
    """A worker's consumer without a connection. Entries go in one after the other.

    Its dead letters go nowhere: `workers.refusal` opens their store by the URL, which names no server here.
    """

    def __init__(self) -> None:
        app = Celery("fuzz", broker="memory://", backend="cache+memory://")
        app.conf.update(
            accept_content=["json"],
            result_accept_content=["json"],
            task_serializer="json",
            worker_send_task_events=False,
        )
        self.letters = _Letters()
        refusal._letters = lambda url: self.letters  # type: ignore[assignment]
        catalogue, clock = Catalogue.parse(CATALOGUE), FleetClock()
        reception = Reception(catalogue, Callers(catalogue, {}, clock), clock, Stream(), worker="fuzz")
        self._pool = _Pool(reception)
        task = app.register_task(CallTask(lambda: None))  # type: ignore[arg-type,return-value]
        task.pool = self._pool
        app.finalize()
        self._timer = _Timer()
        consumer: Any = _Consumer
        self._consumer = consumer(
            on_task_request=self._execute,
            hostname="fuzz",
            pool=self._pool,
            app=app,
            timer=self._timer,
            controller=_Controller(),
            disable_rate_limits=True,
        )
        self._consumer.qos = _Credit()
        self._consumer.event_dispatcher = None
        self._consumer.task_consumer = _Queues()
        self._consumer.update_strategies()
        self._handle = self._consumer.create_task_handler()
        self._taken = 0

    def _execute(self, request: Any) -> None:
        request.execute_using_pool(self._pool)

    def take(self, raw: bytes) -> str:
        """One entry; how it ended."""
        self._taken += 1
        if self._taken % _FORGET_EVERY == 0:
            self._forget()
        # The next one has the same id, and is another call.
        state.revoked.clear()
        _STORED.clear()
        entry, is_message = parse(raw)
        channel: Any = _Channel()
        self._pool.ended = ""
        self._timer.later.clear()
        message = virtual.Message(entry if is_message else stand_in(entry, "calls", None), channel=channel)
        message.accept = {"application/json"}
        # As kombu's consumer does.
        if message.errors:
            message._reraise_error(self._consumer.on_decode_error)
        else:
            self._handle(message)
        self._consumer.perform_pending_operations()
        ends = [*channel.ends, *filter(None, (self._pool.ended,)), *("scheduled" for _ in self._timer.later)]
        if not ends:
            raise AssertionError("the message was left hanging")
        return self._stored_for(message) if ends == ["acknowledged"] else ends[-1]

    def _stored_for(self, message: Any) -> str:
        """What its producer gets of a message that was ended without a call."""
        call_id = message.headers.get("id") if isinstance(message.headers, dict) else None
        if not refusal.is_usable_id(call_id):
            return "dropped"
        meta = self._consumer.app.backend.get_task_meta(call_id, cache=False)
        # REVOKED is what Celery makes of a task of its own that has expired.
        assert meta["status"] in ("FAILURE", "REVOKED"), meta["status"]
        return f"refused, {type(meta['result']).__name__}"

    def _forget(self) -> None:
        """What Celery keeps in memory here, and in servers elsewhere."""
        MemoryChannel.queues.clear()
        for kept in (state.reserved_requests, state.active_requests, _SCHEDULED):
            assert isinstance(kept, WeakSet)
            kept.clear()
        state.total_count.clear()


class _Consumer(GatewayConsumer):
    """Without the steps that connect."""

    Blueprint: Any = type("Blueprint", (Consumer.Blueprint,), {"default_steps": []})


class _Controller:
    state = state


class _Credit:
    def increment_eventually(self, n: int = 1) -> None:
        pass


class _Queues:
    queues = ()

    def cancel_by_queue(self, queue: str) -> None:
        pass


logging.getLogger("kombu").setLevel(logging.INFO)
