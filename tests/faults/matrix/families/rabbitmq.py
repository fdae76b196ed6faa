"""The RabbitMQ that carries the calls."""

import time
from typing import Any

from kombu import Connection

from gateway.queues import DELIVERY_LIMIT
from gateway.routing import queue_of
from tests.faults.fleet import eventually
from tests.faults.matrix.fault import fault
from tests.faults.matrix.made import KINDS
from tests.faults.matrix.scene import Scene
from tests.servers.conduct import Conduct

_ALARM_S = 10.0

_DRAINED = """
[services.drained]
rest.url = "${LEDGER_URL}"
timeouts = { total = 70.0, attempt = 60.0 }
breaker = { enabled = false }
"""

_SICK = """
[services.sick]
rest.url = "${LEDGER_URL}"
breaker = { enabled = false }
"""


@fault("rabbitmq kill -9 and restart under load", brokers=("rabbitmq",), own_broker=True, refuses=True, attempts=1)
def kill_rabbitmq(scene: Scene) -> None:
    scene.slow(2.0)
    eventually(lambda: scene.traffic.open() > 40, timeout=15, what="that calls run")
    scene.fleet.broker.kill()
    scene.fleet.broker.restart()
    scene.slow(0.05)


@fault("rabbitmq restart under load", brokers=("rabbitmq",), own_broker=True, refuses=True, attempts=1)
def restart_rabbitmq(scene: Scene) -> None:
    scene.slow(2.0)
    eventually(lambda: scene.traffic.open() > 40, timeout=15, what="that calls run")
    scene.fleet.broker.restart()
    scene.slow(0.05)


@fault(
    "rabbitmq memory alarm for 10 s", brokers=("rabbitmq",), own_broker=True, refuses=True, attempts=1, submit_s=12.0
)
def memory_alarm(scene: Scene) -> None:
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 20, timeout=15, what="that calls run")
    scene.fleet.broker.alarm(True)
    refused = _refused_within(scene, _ALARM_S)
    scene.fleet.broker.alarm(False)
    scene.slow(0.05)
    assert refused, "the alarm kept no producer from anything"


@fault("rabbitmq disk alarm for 10 s", brokers=("rabbitmq",), own_broker=True, refuses=True, attempts=1, submit_s=12.0)
def disk_alarm(scene: Scene) -> None:
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 20, timeout=15, what="that calls run")
    # More than any disk has: what is free is below it.
    scene.fleet.broker.ask(f"rabbit_disk_monitor:set_disk_free_limit({1 << 60})")
    refused = _refused_within(scene, _ALARM_S)
    scene.fleet.broker.ask("rabbit_disk_monitor:set_disk_free_limit(1000)")
    scene.slow(0.05)
    assert refused, "the alarm kept no producer from anything"


@fault("rabbitmq closes every connection mid-call", brokers=("rabbitmq",), own_broker=True, refuses=True, attempts=1)
def connections_closed(scene: Scene) -> None:
    scene.slow(2.0)
    calls = [scene.traffic.call(kind, f"/traffic/closed-{kind}") for kind in KINDS]
    eventually(lambda: all(scene.arrived(call.path) for call in calls), timeout=15, what="that the calls are sent")
    scene.fleet.broker.close_connections()
    scene.slow(0.05)


@fault(
    "drain longer than two heartbeats",
    brokers=("rabbitmq",),
    catalogue=_DRAINED,
    attempts=1,
    deadline_s=120.0,
    timeout_s=400.0,
)
def drain(scene: Scene) -> None:
    """RabbitMQ takes a worker for dead that is silent for two heartbeats of 20 s, and gives its messages to others."""
    scene.ledger.behave("/drained", Conduct(well_s=50.0, first=0))
    old = list(scene.fleet.workers)
    calls = [
        scene.traffic.call(kind, f"/drained/{kind}-{number}", service="drained")
        for kind in KINDS
        for number in range(3)
    ]
    eventually(lambda: all(scene.arrived(call.path) for call in calls), timeout=15, what="that the calls are sent")
    # Those who take over are ready to take what comes again.
    scene.fleet.start(2)
    began = time.monotonic()
    for worker in old:
        worker.warm_stop()
    for worker in old:
        worker.wait(70.0)
    assert time.monotonic() - began > 40.0, "the workers did not wait for what ran"
    scene.fleet.workers = [worker for worker in scene.fleet.workers if worker not in old]
    eventually(lambda: all(call.ended for call in calls), timeout=15, what="that the long calls end")
    assert all(call.replied for call in calls), "a call that was seen through has no reply"


@fault(
    "message beyond the delivery limit",
    brokers=("rabbitmq",),
    catalogue=_SICK,
    workers=1,
    attempts=1,
    unknown=True,
    unknown_below="/sick",
)
def delivery_limit(scene: Scene) -> None:
    """A consumer takes the messages again and again, and dies of them each time before it knows what they are."""
    scene.traffic.pause()
    eventually(lambda: scene.traffic.open() == 0, timeout=30, what="that all calls end")
    (old,) = scene.fleet.workers
    old.stop()
    scene.fleet.workers.remove(old)
    calls = [scene.traffic.call(kind, f"/sick/{kind}", service="sick") for kind in KINDS]
    deliveries = 0
    while scene.fleet.waiting("sick"):
        deliveries += _take_and_die(scene.fleet.broker_url, queue_of("sick"), len(calls))
        assert deliveries <= len(calls) * (DELIVERY_LIMIT + 5), "they were delivered beyond the limit"
    assert deliveries >= len(calls) * DELIVERY_LIMIT, f"they were given up after {deliveries} deliveries in all"
    scene.traffic.resume()
    scene.fleet.start(1)
    eventually(lambda: all(call.ended for call in calls), timeout=30, what="that the poisonous calls end")
    assert all(call.error for call in calls), "a call that was given up has no error"
    assert not any(scene.arrived(call.path) for call in calls), "a call that was given up was sent"


def _refused_within(scene: Scene, seconds: float) -> int:
    began = time.monotonic()
    time.sleep(seconds)
    return sum(call.refused is not None and call.submitted >= began for call in list(scene.traffic.made))


def _take_and_die(url: str, queue: str, most: int) -> int:
    """Take messages, and close the connection without a word about them; how many there were."""
    taken = 0
    with Connection(url, connect_timeout=5) as connection:
        channel: Any = connection.channel()
        ends = time.monotonic() + 2.0
        while taken < most and time.monotonic() < ends:
            if channel.basic_get(queue, no_ack=False) is not None:
                taken += 1
            elif taken:
                break
            else:
                time.sleep(0.01)
        connection.transport.close_connection(connection.connection)
    return taken
