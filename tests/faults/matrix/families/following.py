"""A broker that takes nothing while calls end after which something is to be enqueued."""

import time
from typing import Any

from gateway import RestCall
from gateway.records import CallState
from tests.faults.fleet import eventually
from tests.faults.matrix.fault import fault
from tests.faults.matrix.scene import Scene

#: Of each kind: calls with a link, chains of two, and calls alone.
_EACH = 8
_DEADLINE_S = 60.0


@fault(
    "broker away when links and chains go on",
    apart=True,
    append_only=True,
    own_broker=True,
    refuses=True,
    attempts=1,
    deadline_s=_DEADLINE_S,
)
def away(scene: Scene) -> None:
    firsts, followers = _under_way(scene)
    plain = [scene.traffic.call("POST", f"/traffic/alone-{number}") for number in range(_EACH)]
    _end_without_broker(scene, firsts, followers)
    eventually(lambda: all(call.ended for call in plain), timeout=20, what="that calls alone have their outcomes")
    assert all(call.replied for call in plain), "a call that nothing follows had no reply without the broker"
    scene.fleet.broker.restart()
    _go_on(scene, followers, most=1)


@fault(
    "broker away when links and chains go on, then kill -9",
    apart=True,
    append_only=True,
    own_broker=True,
    refuses=True,
    attempts=1,
    unknown=True,
    deadline_s=_DEADLINE_S,
)
def away_and_killed(scene: Scene) -> None:
    """Who gets their messages finds the outcomes, and that something is owed."""
    firsts, followers = _under_way(scene)
    _end_without_broker(scene, firsts, followers)
    for worker in list(scene.fleet.workers):
        scene.fleet.kill(worker)
    scene.fleet.broker.restart()
    scene.fleet.start(2)
    _go_on(scene, followers, most=1)
    assert all(scene.arrived(path) == 1 for path in firsts.values()), "a call that had its outcome was sent again"


def _under_way(scene: Scene) -> tuple[dict[str, str], list[str]]:
    """Calls that a service has; their paths by id, and the paths of what follows them."""
    scene.traffic.pause()
    eventually(lambda: scene.traffic.open() == 0, timeout=30, what="that all other calls end")
    scene.slow(5.0)
    firsts: dict[str, str] = {}
    followers: list[str] = []
    for number in range(_EACH):
        linked, link = f"/traffic/linked-{number}", f"/traffic/link-{number}"
        firsts[_asked(scene, linked).apply_async(link=[_asked(scene, link)]).id] = linked
        begun, step = f"/traffic/begun-{number}", f"/traffic/step-{number}"
        firsts[(_asked(scene, begun) | _asked(scene, step)).apply_async().parent.id] = begun
        followers += [link, step]
    eventually(lambda: all(map(scene.arrived, firsts.values())), timeout=15, what="that the calls are sent")
    return firsts, followers


def _end_without_broker(scene: Scene, firsts: dict[str, str], followers: list[str]) -> None:
    scene.all_taken()
    if scene.kind == "redis":
        # What the last second wrote may be lost with it.
        time.sleep(1.2)
        scene.fleet.broker.process.kill()
    else:
        scene.fleet.broker.kill()
    assert all(scene.fleet.stored(call_id) is None for call_id in firsts), "a call ended before the broker was away"
    pending = [scene.gateway.pending(call_id) for call_id in firsts]
    eventually(
        lambda: all(call.state is CallState.DONE for call in pending),
        timeout=30,
        what="that producers have the outcomes",
    )
    assert not any(map(scene.arrived, followers)), "what follows was sent without the broker"
    scene.slow(0.05)


def _go_on(scene: Scene, followers: list[str], *, most: int) -> None:
    eventually(lambda: all(map(scene.arrived, followers)), timeout=45, what="that what follows is sent")
    eventually(lambda: not scene.unacknowledged(), timeout=45, what="that nothing is left unacknowledged")
    assert all(scene.arrived(path) <= most for path in followers), "what follows was sent twice"
    scene.traffic.resume()


def _asked(scene: Scene, path: str) -> Any:
    before, _, number = path.rpartition("/")
    call = RestCall("ledger", "POST", f"{before}/{{number}}", path={"number": number})
    return scene.gateway.signature(call, deadline=_DEADLINE_S)
