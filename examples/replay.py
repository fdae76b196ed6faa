"""A service has a fault, a call dies of it, and is replayed once the service is repaired."""

from uuid import uuid4

from gateway import Gateway, RestCall
from gateway.dead_selection import Selection
from gateway.errors import ServiceFaultError
from gateway.replay import Replayer, Terms

gateway = Gateway.from_env()
order = f"order-{uuid4()}"
# The demo service is told to fail the first time that it is asked with this correlation id.
call = RestCall(
    "user-service",
    "POST",
    "/users",
    json={"name": "Grace Hopper", "email": f"{order}@example.com"},
    headers={"x-demo-behaviour": "fail;times=1"},
)
pending = gateway.submit(call, correlation_id=order, deadline=20.0)
try:
    pending.result()
except ServiceFaultError as error:
    print("dead:", error.message)

# The same on the command line: gateway dead replay --service user-service --error ServiceFaultError --since 10m
chosen = Selection(service="user-service", error="ServiceFaultError", since_s=600.0, replayed=False)
with Replayer.from_env() as replayer:
    now = replayer.letters.now()
    letters = [letter for letter in replayer.letters if chosen.has(letter, now) and letter.correlation_id == order]
    for done in replayer.replay(letters, Terms()):
        reply = gateway.pending(done.call_id).result(timeout=20) if done.call_id else None
        print("replayed:", reply.status if reply else done.why, reply.data["name"] if reply else "")
