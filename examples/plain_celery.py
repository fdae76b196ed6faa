"""A producer without this package: any Celery app can send a call. See `docs/message-contract.md`."""

import os

from celery import Celery

broker = os.environ["GATEWAY_BROKER_URL"]
app = Celery(broker=broker, backend=os.environ.get("GATEWAY_RESULT_URL", broker))

result = app.send_task(
    "gateway.call",
    kwargs={
        "version": 1,
        "call": {
            "protocol": "rest",
            "service": "user-service",
            "method": "GET",
            "route": "/users/{user_id}",
            "path": {"user_id": "123"},
        },
        "correlation_id": "order-42",
        "deadline_s": 10,
    },
    queue="gateway",
)
print(result.get(timeout=15)["data"]["name"])
