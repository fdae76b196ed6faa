"""A producer process that submits with an idempotency key; `python -m tests.integration.single_flights WHAT KEY …`."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery.signals import before_task_publish

from gateway import Gateway, RestCall
from gateway.codec import TASK

__all__ = ["CHARGE"]

#: Not repeatable by itself.
CHARGE = RestCall("user-service", "POST", "/echo", json={"amount": 1})


def race(gateway: Gateway, key: str, threads: int) -> list[str]:
    """Submit at once from many threads; what each got: call and request id."""

    def one(_: int) -> str:
        pending = gateway.submit(CHARGE, idempotency_key=key, correlation_id=key)
        return f"{pending.id} {pending.result(timeout=20).request_id}"

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


def die(gateway: Gateway, key: str) -> None:
    """Be gone once the call is recorded, and before it is enqueued."""

    def gone(**_: Any) -> None:
        os._exit(9)

    before_task_publish.connect(gone, sender=TASK)
    gateway.submit(CHARGE, idempotency_key=key, correlation_id=key)


if __name__ == "__main__":
    with Gateway.from_env() as made:
        if sys.argv[1] == "race":
            made.submit(CHARGE).result(timeout=20)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            sys.stdin.readline()
            sys.stdout.write(json.dumps(race(made, sys.argv[2], int(sys.argv[3]))))
        else:
            die(made, sys.argv[2])
