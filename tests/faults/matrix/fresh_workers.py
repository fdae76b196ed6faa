"""Workers that differ from those a scene began with."""

from collections.abc import Mapping

from tests.faults.matrix.scene import Scene
from tests.servers.worker import Worker

__all__ = ["replace_workers"]

_GRACE_S = 30.0


def replace_workers(
    scene: Scene, environment: Mapping[str, str], *, app: str | None = None, keep: int = 0
) -> list[Worker]:
    """Start as many workers as leave, and let these finish what they do.

    Args:
        scene: whose.
        environment: of the new ones, beside the scene's.
        app: import path of theirs; the scene's by default.
        keep: how many of the old ones stay.

    Returns:
        The new ones.
    """
    fleet = scene.fleet
    old = fleet.workers[keep:]
    fleet.app, before = app or fleet.app, fleet.app
    try:
        fresh = fleet.start(len(old), environment=environment)
    finally:
        fleet.app = before
    for worker in old:
        worker.warm_stop()
    for worker in old:
        worker.wait(_GRACE_S)
        fleet.workers.remove(worker)
    return fresh
