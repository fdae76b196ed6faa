"""Workers that are told to stop while they are under load, and others that take over."""

import time
from collections.abc import Callable

from tests.faults.fleet import eventually
from tests.faults.matrix.fault import fault
from tests.faults.matrix.scene import Scene
from tests.servers.worker import Worker

_GRACE_S = 30.0


@fault("warm stop under load", attempts=1, rate=150.0)
def warm(scene: Scene) -> None:
    """SIGTERM: what runs is finished, the rest is given back at once."""
    _stop_all(scene, Worker.warm_stop)


@fault(
    "soft stop under load",
    attempts=2,
    rate=150.0,
    unknown=True,
    app="tests.servers.tuned_app",
    environment={"TUNED_SOFT_S": "3"},
)
def soft(scene: Scene) -> None:
    """SIGQUIT where a soft shutdown is set up: so long for what runs, then it is dropped."""
    _stop_all(scene, Worker.cold_stop)


@fault("cold stop under load", quick=("redis", "rabbitmq"), attempts=2, rate=150.0, unknown=True)
def cold(scene: Scene) -> None:
    """SIGQUIT: what runs is dropped, and everything is given back."""
    _stop_all(scene, Worker.cold_stop)


@fault("rolling restart under load", attempts=1, rate=100.0, workers=3)
def rolling(scene: Scene) -> None:
    for old in _loaded(scene):
        scene.fleet.start(1)
        began = time.monotonic()
        old.warm_stop()
        _all_end([old], began)
        scene.fleet.workers.remove(old)
    scene.slow(0.05)


def _stop_all(scene: Scene, stop: Callable[[Worker], None]) -> None:
    """Stop the workers that are under load, while a new one goes on."""
    old = _loaded(scene)
    scene.fleet.start(1)
    began = time.monotonic()
    for worker in old:
        stop(worker)
    _all_end(old, began)
    scene.fleet.workers = [worker for worker in scene.fleet.workers if worker not in old]


def _loaded(scene: Scene) -> list[Worker]:
    scene.slow(1.5)
    eventually(lambda: scene.traffic.open() > 60, timeout=30, what="that calls run")
    return list(scene.fleet.workers)


def _all_end(workers: list[Worker], began: float) -> None:
    for worker in workers:
        worker.wait(_GRACE_S)
    took_s = time.monotonic() - began
    assert took_s < _GRACE_S, f"the workers took {took_s:.1f} s to stop"
