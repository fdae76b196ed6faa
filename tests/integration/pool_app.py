"""A little Celery app on our pool, with an executor that does what a call's `do` tells it.

It reads `POOL_BROKER`, `POOL_RESULT`, `POOL_JOURNAL` (a file that takes one line for each event of a call) and
`POOL_CONF` (more Celery settings, as JSON) from the environment.
"""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from gateway.errors import CallCancelledError, Delivery, ServiceError, ServiceUnavailableError
from gateway.reply import Reply, Timing
from workers.task import CallTask

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


class ToldExecutor:
    """Sleeps, fails, raises, or swallows its cancellation."""

    def __init__(self) -> None:
        self._journal = Path(os.environ.get("POOL_JOURNAL", os.devnull))

    async def start(self) -> None:
        if os.environ.get("POOL_REFUSE"):
            raise ValueError(os.environ["POOL_REFUSE"])

    def cancelled(self, call_id: str) -> ServiceError:
        self._write("asked", call_id)
        return CallCancelledError(
            "it was cancelled", service="user-service", delivery=Delivery.MAYBE_SENT, call_id=call_id
        )

    async def close(self) -> None:
        self._write("closed", "-")

    async def perform(
        self, call_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], headers: Mapping[str, Any]
    ) -> Reply | ServiceError:
        do = kwargs.get("do", {})
        self._write("started", call_id)
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
app.conf.update(json.loads(os.environ.get("POOL_CONF", "{}")))
app.register_task(CallTask(ToldExecutor))


@app.task(name="tests.total")
def total(replies: list[dict[str, Any]], *more: Any) -> int:
    """How many replies of calls it was given."""
    return len(replies if isinstance(replies, list) else [replies])


@app.task(name="tests.write")
def write(*args: Any, **kwargs: Any) -> None:
    """Leave a line in the journal, as a callback."""
    with Path(os.environ["POOL_JOURNAL"]).open("a") as journal:
        journal.write("written -\n")
