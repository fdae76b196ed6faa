"""Clocks of hosts that jump."""

import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from gateway.errors import DeadlineExceededError
from tests.faults.fleet import eventually
from tests.faults.matrix.fault import fault
from tests.faults.matrix.fresh_workers import replace_workers
from tests.faults.matrix.made import KINDS
from tests.faults.matrix.scene import Scene
from tests.faults.matrix.traffic import Made
from tests.faults.wrong_clock import WrongClock
from tests.servers.producer import Producer
from tests.servers.worker import Worker

_HOUR_S = 3600
_JUMPED_S = 6.0
#: From the worker's decision to the ledger's line, on a busy machine.
_GRACE_S = 1.0


@fault("a worker's clock jumps an hour ahead", attempts=1)
def worker_ahead(scene: Scene) -> None:
    _worker_jumps(scene, _HOUR_S)


@fault("a worker's clock jumps an hour back", errors=(DeadlineExceededError,), attempts=1)
def worker_back(scene: Scene) -> None:
    """A call whose deadline has passed is still not sent, though the worker's own clock says that there is time."""
    _worker_jumps(scene, -_HOUR_S)


@fault("a producer's clock jumps an hour ahead", errors=(DeadlineExceededError,), unknown=True, attempts=1)
def producer_ahead(scene: Scene) -> None:
    """A call whose deadline has passed is still not sent, though its producer's clock says that there is time."""
    _producer_jumps(scene, _HOUR_S, deadline_s=4.0)


@fault("a producer's clock jumps an hour back", attempts=1)
def producer_back(scene: Scene) -> None:
    _producer_jumps(scene, -_HOUR_S)


def _worker_jumps(scene: Scene, offset_s: int) -> None:
    clock = WrongClock(scene.fleet.folder)
    (worker,) = replace_workers(scene, clock.environment, keep=1)
    scene.slow(2.0)
    calls = [scene.traffic.call(kind, f"/traffic/running-{kind}-{number}") for kind in KINDS for number in range(4)]
    eventually(lambda: all(scene.arrived(call.path) for call in calls), timeout=15, what="that the calls are sent")
    clock.jump(offset_s)
    if offset_s < 0:
        # By then it knows fleet time again: what it learns while it stands still is not exact.
        time.sleep(1.5)
        _pass_a_deadline(scene, worker)
    time.sleep(_JUMPED_S)
    # It must have believed the clock, or nothing was shown.
    worker.warm_stop()
    worker.wait(30.0)
    scene.fleet.workers.remove(worker)
    believed = (datetime.now(UTC) + timedelta(seconds=offset_s)).strftime("%Y-%m-%d %H:")
    assert any(line.startswith(believed) for line in worker.output().splitlines()), "the worker's clock did not jump"
    scene.fleet.start(1, environment=clock.environment)
    clock.jump(0)
    scene.slow(0.05)


def _pass_a_deadline(scene: Scene, worker: Worker) -> None:
    """While all workers stand still; `worker` is the first to go on."""
    scene.fleet.freeze()
    late = [
        scene.traffic.call(kind, f"/traffic/late-{kind}-{number}", deadline_s=2.0)
        for kind in KINDS
        for number in range(4)
    ]
    time.sleep(2.5)
    worker.process.signal(signal.SIGCONT)
    time.sleep(2.0)
    scene.fleet.thaw()
    eventually(lambda: all(call.ended for call in late), timeout=20, what="that the late calls end")
    too_late = _sent_late(scene, late, 2.0)
    assert not too_late, f"sent when their deadline had passed: {too_late}"
    assert all(call.error is None for call in list(scene.traffic.made) if call not in late), "another call failed"


def _sent_late(scene: Scene, calls: Sequence[Made], deadline_s: float) -> list[str]:
    """What arrived when its deadline had passed, by the machine's monotonic clock."""
    arrived = scene.ledger.by_path("/traffic")
    return [
        f"{call.path} [{call.call_id}] {late_s:.1f} s late"
        for call in calls
        for entry in arrived.get(call.path, ())
        if (late_s := entry.at - call.submitted - call.submit_s - deadline_s) > _GRACE_S
    ]


def _producer_jumps(scene: Scene, offset_s: int, *, deadline_s: float = 45.0) -> None:
    clock = WrongClock(scene.fleet.folder)
    producer = Producer(
        scene.fleet.folder,
        scene.fleet.settings,
        below="/traffic/apart",
        rate=scene.fault.rate,
        deadline_s=deadline_s,
        environment=clock.environment,
    )
    try:
        scene.slow(2.0)
        eventually(lambda: scene.traffic.open() > 20, timeout=15, what="that calls run")
        clock.jump(offset_s)
        if deadline_s < _JUMPED_S:
            time.sleep(1.0)
            scene.fleet.freeze()
            time.sleep(_JUMPED_S)
            scene.fleet.thaw()
        time.sleep(_JUMPED_S)
        clock.jump(0)
        scene.slow(0.05)
        scene.over()
        time.sleep(1.0)
        made = producer.finish(deadline_s + 60.0)
    finally:
        producer.stop()
    scene.traffic.include(made)
    too_late = _sent_late(scene, made, deadline_s)
    assert not too_late, f"sent when their deadline had passed: {too_late}"
    if deadline_s < _JUMPED_S:
        assert any(call.error for call in made), "no deadline passed"
