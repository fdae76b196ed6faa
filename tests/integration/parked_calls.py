"""Calls that are parked, on a rig: how they are held back, let go and counted."""

import json
from typing import Any

from gateway.fleet_keys import breaker, parked, parked_deadlines, parked_messages
from tests.integration.pool_rig import CALL, Rig

__all__ = ["SERVICE", "UNPARKS", "enqueue", "hold", "let_go", "lot"]

SERVICE = "user-service"
UNPARKS = {"POOL_UNPARKS": json.dumps({SERVICE: {"limit": {"concurrency": 10_000}}})}


def hold(rig: Rig) -> None:
    """Nothing goes through the gate."""
    rig.results.hset(breaker(SERVICE), mapping={"phase": "open", "until": "inf"})


def let_go(rig: Rig) -> None:
    rig.results.delete(breaker(SERVICE))


def lot(rig: Rig) -> tuple[int, int, int]:
    """How many calls are parked, by all three of their traces."""
    results = rig.results
    return (
        int(results.zcard(parked(SERVICE))),
        int(results.zcard(parked_deadlines(SERVICE))),
        int(results.hlen(parked_messages(SERVICE))),
    )


def enqueue(rig: Rig, count: int, name: str = "call") -> set[str]:
    """Many calls that are parked once."""
    amqp: Any = rig.app.amqp
    kwargs = {"call": CALL, "correlation_id": "order-42", "do": {"park": 1}, "filling": "x" * 2000}
    ids = {f"{name}-{number}" for number in range(count)}
    with rig.app.connection_for_write() as connection, amqp.Producer(connection) as producer, producer.batch(1000):
        for call_id in ids:
            message = amqp.create_task_message(call_id, "gateway.call", kwargs=kwargs)
            amqp.send_task_message(producer, "gateway.call", message, queue="calls")
    return ids
