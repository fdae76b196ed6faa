"""A payment that must not be made twice, and what to do about each way in which it can end."""

from uuid import uuid4

from gateway import Gateway, RestCall
from gateway.errors import CircuitOpenError, OutcomeUnknownError, RateLimitedError, ServiceError

gateway = Gateway.from_env()
create = RestCall("user-service", "POST", "/users", json={"name": "Barbara Liskov", "email": "barbara@example.com"})

# With a key it may be repeated: the service sees the same key on every attempt, and answers the second as the first.
key = f"sign-up-{uuid4()}"
first = gateway.submit(create, idempotency_key=key, deadline=30.0)
again = gateway.submit(create, idempotency_key=key, deadline=30.0)  # a double click: the same call, the same result
print("one call:", first.id == again.id, "·", first.result().data["name"])

# Without one, a call that got no answer is never repeated behind your back.
slow = RestCall(
    "user-service", "POST", "/users", json=create.json, headers={"x-demo-behaviour": "hang"}, attempt_timeout=0.5
)
try:
    gateway.submit(slow, deadline=10.0).result()
except OutcomeUnknownError as error:
    print("ask the service, or a person:", error.delivery, error.details["error"])
except (CircuitOpenError, RateLimitedError) as error:
    print("not now; again in", error.retry_after_s)
except ServiceError as error:
    print("it failed, and did" if error.delivery != "not_sent" else "it failed, and did not", "reach the service")
