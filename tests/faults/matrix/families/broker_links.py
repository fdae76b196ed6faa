"""The links to the broker, broken at the moments that hurt."""

import time

from tests.faults.copies import Copies
from tests.faults.fleet import eventually
from tests.faults.matrix.fault import fault
from tests.faults.matrix.made import KINDS
from tests.faults.matrix.scene import Scene
from tests.servers.conduct import Conduct


@fault("broker reset after the claim", linked=True, quick=("redis",))
def reset_after_claim(scene: Scene) -> None:
    link = scene.links.worker_broker
    scene.give_away_unheard()
    assert link.reset() >= len(scene.fleet.workers)
    link.let_go()
    scene.traffic.resume()


@fault("broker reset mid-call", linked=True, quick=("redis", "rabbitmq"), attempts=1)
def reset_mid_call(scene: Scene) -> None:
    scene.slow(2.0)
    calls = [scene.traffic.call(kind, f"/traffic/mid-{kind}") for kind in KINDS]
    eventually(lambda: all(scene.arrived(call.path) for call in calls), timeout=15, what="that the calls are sent")
    assert scene.links.worker_broker.reset() >= len(scene.fleet.workers)
    scene.slow(0.05)


@fault("broker reset every second for 10 s", linked=True, attempts=1)
def reset_often(scene: Scene) -> None:
    scene.slow(1.5)
    for _ in range(10):
        time.sleep(1.0)
        assert scene.links.worker_broker.reset() > 0
    scene.slow(0.05)


@fault("broker reset with the ack lost", linked=True, attempts=1)
def ack_lost(scene: Scene) -> None:
    scene.slow(1.0)
    calls = [scene.traffic.call(kind, f"/traffic/unheard-{kind}") for kind in KINDS]
    scene.traffic.pause()
    eventually(lambda: all(scene.arrived(call.path) for call in calls), timeout=15, what="that the calls are sent")
    scene.all_taken()
    scene.links.worker_broker.hold(up=True)
    eventually(lambda: scene.traffic.open() == 0, timeout=15, what="that all results are stored")
    scene.links.worker_broker.reset()
    scene.links.worker_broker.let_go()
    scene.slow(0.05)
    # Before new calls flow, of which some are always unacknowledged.
    eventually(lambda: not scene.unacknowledged(), timeout=60, what="that nothing is left unacknowledged")
    scene.traffic.resume()


@fault("broker reset with the publish reply lost", linked=True, refuses=True, quick=("redis", "rabbitmq"), attempts=1)
def publish_reply_lost(scene: Scene) -> None:
    scene.traffic.pause()
    link = scene.links.producer_broker
    for kind in KINDS:
        for number in range(3):
            path = f"/traffic/unconfirmed-{kind}-{number}"
            cuts = link.cuts
            # The description of the call is a header of its message, in plain text on both brokers.
            link.cut_after(b"gateway.call")
            made = scene.traffic.call(kind, path)
            assert link.cuts == cuts + 1, "the link was not cut"
            assert made.call_id is not None or made.refused is not None
    link.let_go()
    scene.traffic.resume()


@fault("broker refuses connections for 20 s", linked=True, refuses=True, attempts=1)
def refused(scene: Scene) -> None:
    for link in (scene.links.worker_broker, scene.links.producer_broker):
        assert link.reset(refuse=True) > 0
    time.sleep(20.0)
    assert scene.traffic.refused(), "no submit was refused while the broker was"
    for link in (scene.links.worker_broker, scene.links.producer_broker):
        link.let_go()


@fault("half-open link to the broker", linked=True, refuses=True, attempts=2, recovers_s=60.0, deadline_s=90.0)
def half_open(scene: Scene) -> None:
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 10, timeout=15, what="that calls run")
    # Nothing comes through any more, and nobody is told; connections that are made anew are well.
    scene.links.worker_broker.swallow()
    scene.links.producer_broker.swallow()
    scene.slow(0.05)


@fault("broker stalls for 15 s", linked=True, refuses=True, attempts=2)
def stalled(scene: Scene) -> None:
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 10, timeout=15, what="that calls run")
    scene.links.worker_broker.hold(up=True, down=True)
    time.sleep(15.0)
    scene.links.worker_broker.let_go()
    scene.slow(0.05)


@fault("two workers get the same redelivery", linked=True, attempts=1, deadline_s=40.0)
def twins(scene: Scene) -> None:
    """Messages of calls that run are put on the queue again, as a broker does that takes their worker for dead."""
    scene.ledger.behave("/twin", Conduct(well_s=4.0, first=0))
    with Copies(scene.gateway.celery) as copies:
        calls = [scene.traffic.call(kind, f"/twin/{kind}-{number}") for kind in KINDS for number in range(4)]
        eventually(lambda: all(scene.arrived(call.path) for call in calls), timeout=15, what="that the calls are sent")
        assert copies.publish(3) >= 3 * len(calls)
    eventually(lambda: all(call.ended for call in calls), timeout=30, what="that the calls end")
