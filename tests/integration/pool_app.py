"""A little Celery app on our pool, with an executor that does what a call's `do` tells it.

It reads `POOL_BROKER`, `POOL_RESULT`, `POOL_JOURNAL` (a file that takes one line for each event of a call),
`POOL_CONF` (more Celery settings, as JSON), `POOL_FLEET` (where calls are parked) and `POOL_UNPARKS` (policy tables by
service, as JSON: it brings parked calls of these back) from the environment.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from gateway.errors import CallCancelledError, Delivery, ServiceError, ServiceUnavailableError
from gateway.policy import merge
from gateway.records import key_of
from gateway.redis_client import open_async
from gateway.reply import Reply, Timing
from workers.fleet.parking import ParkingError, ParkingLot
from workers.observation.events import Event
from workers.outcomes import Dropped, Parked
from workers.task import CallTask
from workers.unparker import unparker_step

__all__ = ["app", "make"]

CONF: dict[str, Any] = {
    "accept_content": ["json"],
    "task_serializer": "json",
    "task_default_queue": "calls",
    "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in ("calls", "celery")],
    "worker_pool": "workers.pool:AsyncioPool",
    "worker_consumer": "workers.consumer:GatewayConsumer",
    "worker_prefetch_multiplier": 1,
    "worker_send_task_events": True,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "result_backend_always_retry": True,
    "result_backend_max_retries": 3,
    "result_backend_base_sleep_between_retries_ms": 20,
    "result_backend_max_sleep_between_retries_ms": 100,
    "broker_connection_retry_on_startup": True,
    "broker_transport_options": {"visibility_timeout": 60, "socket_timeout": 5},
}


#: Where calls are parked: with the results, unless told otherwise.
FLEET = os.environ.get("POOL_FLEET") or os.environ.get("POOL_RESULT", "redis://localhost")


class ToldExecutor:
    """Sleeps, fails, raises, swallows its cancellation, or parks the call."""

    def __init__(self) -> None:
        self._journal = Path(os.environ.get("POOL_JOURNAL", os.devnull))

    async def start(self) -> None:
        if os.environ.get("POOL_REFUSE"):
            raise ValueError(os.environ["POOL_REFUSE"])
        self._redis = open_async(FLEET)
        self._lot = ParkingLot(FLEET)
        #: The client has no more connections than a hundred.
        self._turns = asyncio.Semaphore(50)

    def verifies(self, *message: object) -> bool:
        """Nobody has to sign."""
        return True

    def observe(self, event: Event) -> None:
        """Nobody looks."""

    def stored(self, call_id: str) -> None:
        pass

    def cancelled(self, call_id: str) -> ServiceError:
        self._write("asked", call_id)
        return CallCancelledError(
            "it was cancelled", service="user-service", delivery=Delivery.MAYBE_SENT, call_id=call_id
        )

    async def close(self) -> None:
        await self._lot.close()
        await self._redis.aclose()
        self._write("closed", "-")

    async def perform(
        self,
        call_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        headers: Mapping[str, Any],
        message: Callable[[], bytes],
        embed: Mapping[str, Any] | None = None,
    ) -> Reply | ServiceError | Parked | Dropped:
        do = kwargs.get("do", {})
        parks = headers.get("gateway_parks", 0)
        if do.get("drop"):
            self._write("dropped", call_id)
            return Dropped("a duplicate")
        if parks < do.get("park", 0):
            return await self._park(call_id, do, message)
        if parks:
            self._write(f"came-back-{parks}", call_id)
        self._write("started", call_id)
        if headers.get("delivery_info", {}).get("redelivered"):
            self._write("redelivered", call_id)
        try:
            await asyncio.sleep(do.get("sleep_s", 0))
        except asyncio.CancelledError:
            self._write("cancelled", call_id)
            if do.get("stubborn"):
                await asyncio.sleep(3600)
            if not do.get("swallow"):
                raise
        if do.get("kill_loop"):
            asyncio.get_running_loop().call_soon(_raise_system_exit)
            await asyncio.sleep(3600)
        if do.get("raise"):
            raise RuntimeError(do["raise"])
        if do.get("wrong"):
            return "no outcome"  # type: ignore[return-value]
        self._write("ended", call_id)
        if do.get("fail"):
            delivery = Delivery(do.get("delivery", Delivery.NOT_SENT))
            return ServiceUnavailableError(
                do["fail"], service="user-service", attempts=3, delivery=delivery, call_id=call_id
            )
        return Reply(
            data={"said": do.get("say"), "earlier": len(args)},
            status=200,
            headers={},
            attempts=1,
            timing=Timing(total=do.get("sleep_s", 0.0)),
            correlation_id="c-1",
            request_id="r-1",
            service="user-service",
            operation="GET /users/{user_id}",
            protocol="rest",
            call_id=call_id,
        )

    async def _park(
        self, call_id: str, do: Mapping[str, Any], message: Callable[[], bytes]
    ) -> ServiceError | Parked | Dropped:
        async with self._turns:
            token: Any = await self._redis.hincrby(key_of(call_id), "lease", 1)
        until = None if "for_s" not in do else time.time() + do["for_s"]
        packed = message()
        self._write("parking", call_id)
        await asyncio.sleep(do.get("park_s", 0))
        try:
            parked = await self._lot.park(
                call_id,
                service="user-service",
                message=packed,
                until=until,
                deadline_at=time.time() + do.get("deadline_s", 60),
                token=token,
                owner="a worker of this test",
                attempts=0,
                free=0,
                maybe=bool(do.get("maybe")),
                spent_s=0.1,
                paid=0,
                why="the breaker is open",
            )
        except ParkingError as error:
            self._write("not-parked", call_id)
            return ServiceUnavailableError(str(error), delivery=Delivery.NOT_SENT, call_id=call_id)
        self._write("parked", call_id)
        return Parked("the breaker is open", until) if parked else Dropped("it belongs to another worker")

    def _write(self, event: str, call_id: str) -> None:
        with self._journal.open("a") as journal:
            journal.write(f"{event} {call_id}\n")


def _raise_system_exit() -> None:
    raise SystemExit(3)


def make(broker: str, result: str) -> Celery:
    """The app without any task of its own."""
    made = Celery("pool", broker=broker, backend=result, set_as_current=False)
    made.conf.update(CONF)
    return made


app = make(os.environ.get("POOL_BROKER", "memory://"), os.environ.get("POOL_RESULT", "cache+memory://"))
if os.environ.get("POOL_BROKER", "").startswith("redis:"):
    # Of workers alone: producers have kombu's own.
    app.conf.broker_transport = "workers.broker.redis:Transport"
app.conf.update(json.loads(os.environ.get("POOL_CONF", "{}")))
app.register_task(CallTask(ToldExecutor))
if "POOL_UNPARKS" in os.environ:
    policies = {name: merge(tables) for name, tables in json.loads(os.environ["POOL_UNPARKS"]).items()}
    app.steps["worker"].add(unparker_step(FLEET, policies, claim_s=3.0))


@app.task(name="tests.total")
def total(replies: list[dict[str, Any]], *more: Any) -> int:
    """How many replies of calls it was given."""
    return len(replies if isinstance(replies, list) else [replies])


@app.task(name="tests.write")
def write(*args: Any, **kwargs: Any) -> None:
    """Leave a line in the journal, as a callback."""
    with Path(os.environ["POOL_JOURNAL"]).open("a") as journal:
        journal.write("written -\n")
