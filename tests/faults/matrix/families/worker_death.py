"""Workers that are killed or frozen, at the moments that hurt."""

import signal
import time

from gateway.errors import DeadlineExceededError, ServiceTimeoutError
from tests.faults.fleet import eventually
from tests.faults.matrix.fault import fault
from tests.faults.matrix.made import KINDS
from tests.faults.matrix.scene import Scene


@fault("worker kill -9 mid-call", unknown=True)
def kill_mid_call(scene: Scene) -> None:
    scene.slow(2.0)
    calls = [scene.traffic.call(kind, f"/traffic/mid-{kind}") for kind in KINDS]
    eventually(lambda: all(scene.arrived(call.path) for call in calls), timeout=15, what="that the calls are sent")
    for worker in list(scene.fleet.workers):
        scene.fleet.kill(worker)
    scene.slow(0.05)
    scene.fleet.start(2)


@fault("one of two workers kill -9", unknown=True)
def kill_one(scene: Scene) -> None:
    scene.slow(0.5)
    eventually(lambda: scene.traffic.open() > 10, timeout=15, what="that calls run")
    scene.fleet.kill(scene.fleet.workers[0])
    scene.slow(0.05)


@fault("worker kill -9 right after the claim", linked=True, unknown=True)
def kill_after_claim(scene: Scene) -> None:
    # The broker has given the messages away, and no worker has heard of it.
    scene.give_away_unheard()
    for worker in list(scene.fleet.workers):
        scene.fleet.kill(worker)
    scene.links.worker_broker.reset()
    scene.links.worker_broker.let_go()
    scene.traffic.resume()
    scene.fleet.start(2)


# One that ran again would have its outcome all the same: its second arrival tells.
@fault("worker kill -9 between result and ack", linked=True, attempts=1)
def kill_before_ack(scene: Scene) -> None:
    scene.slow(1.0)
    calls = [scene.traffic.call(kind, f"/traffic/stored-{kind}") for kind in KINDS]
    scene.traffic.pause()
    eventually(lambda: all(scene.arrived(call.path) for call in calls), timeout=15, what="that the calls are sent")
    scene.all_taken()
    scene.links.worker_broker.hold(up=True)
    eventually(lambda: scene.traffic.open() == 0, timeout=15, what="that all results are stored")
    for worker in list(scene.fleet.workers):
        scene.fleet.kill(worker)
    scene.links.worker_broker.reset()
    scene.links.worker_broker.let_go()
    scene.slow(0.05)
    scene.fleet.start(2)
    # What was not acknowledged comes again, and must not run again: the ledger tells. Before new calls flow, of which
    # some are always unacknowledged.
    eventually(lambda: not scene.unacknowledged(), timeout=60, what="that nothing is left unacknowledged")
    scene.traffic.resume()


@fault("a worker stopped for 30 s", unknown=True, attempts=3, deadline_s=60.0)
def freeze_one(scene: Scene) -> None:
    scene.slow(0.5)
    eventually(lambda: scene.traffic.open() > 10, timeout=15, what="that calls run")
    frozen = scene.fleet.workers[0]
    frozen.process.signal(signal.SIGSTOP)
    scene.slow(0.05)
    time.sleep(30.0)
    frozen.process.signal(signal.SIGCONT)


# Their own clocks say that the service did not answer in time.
@fault("all workers stopped for 30 s", unknown=True, deadline_s=60.0, errors=(ServiceTimeoutError,))
def freeze_all(scene: Scene) -> None:
    scene.slow(0.5)
    eventually(lambda: scene.traffic.open() > 10, timeout=15, what="that calls run")
    scene.fleet.freeze()
    time.sleep(30.0)
    scene.slow(0.05)
    scene.fleet.thaw()


_POISON = """
[services.poison]
rest.url = "${LEDGER_URL}"
timeouts = { total = 20.0, attempt = 10.0 }
breaker = { enabled = false }
interceptors = { before = ["tests.servers.poison:kill"] }
"""


@fault(
    "poison call kills its worker",
    catalogue=_POISON,
    unknown=True,
    unknown_below="/poison",
    # What was killed beside them twice goes one at a time, behind them: it may run out of its 60 s.
    errors=(DeadlineExceededError,),
    deadline_s=60.0,
    timeout_s=400.0,
    recovers_s=30.0,
)
def poison(scene: Scene) -> None:
    calls = [scene.traffic.call(kind, f"/poison/{kind}", service="poison", deadline_s=240.0) for kind in KINDS]
    deaths = 0
    ends = time.monotonic() + 200.0
    while time.monotonic() < ends and not all(call.ended for call in calls):
        for worker in list(scene.fleet.workers):
            if worker.exit_code is not None:
                deaths += 1
                scene.fleet.workers.remove(worker)
                scene.fleet.start(1)
        time.sleep(0.05)
    assert deaths, "the interceptor killed no worker"
    assert all(call.ended for call in calls), f"after {deaths} deaths the poisonous calls still have no outcome"
