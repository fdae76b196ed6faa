"""Calls that take long, and calls that wait outside the workers."""

from tests.faults.fleet import eventually
from tests.faults.matrix.fault import fault
from tests.faults.matrix.made import KINDS
from tests.faults.matrix.scene import Scene
from tests.servers.conduct import Conduct

_LONG = """
[services.long]
rest.url = "${LEDGER_URL}"
timeouts = { total = 40.0, attempt = 30.0 }
breaker = { enabled = false }
"""

_PARKED = """
[services.parked]
rest.url = "${LEDGER_URL}"
timeouts = { total = 20.0, attempt = 10.0 }
breaker = { enabled = false }
limit = { concurrency = 100 }
"""


@fault(
    "calls longer than the visibility timeout",
    attempts=1,
    deadline_s=60.0,
    brokers=("redis",),
    app="tests.servers.tuned_app",
    environment={"TUNED_VISIBILITY_S": "5"},
    catalogue=_LONG,
)
def longer_than_visible(scene: Scene) -> None:
    scene.ledger.behave("/long", Conduct(well_s=18.0, first=0))
    calls = [
        scene.traffic.call(kind, f"/long/{kind}-{number}", service="long") for kind in KINDS for number in range(3)
    ]
    eventually(lambda: all(call.ended for call in calls), timeout=40, what="that the long calls end")


@fault("10,000 parked calls while a worker dies", catalogue=_PARKED, unknown=True, deadline_s=110.0, rate=20.0)
def parked(scene: Scene) -> None:
    # The first ones hold all places for so long that the others are parked meanwhile.
    scene.ledger.behave("/parked", Conduct(delay_s=9.0, until_s=30.0, well_s=0.01))
    scene.traffic.calls(10_000, "/parked", service="parked")
    eventually(lambda: scene.fleet.parked("parked") > 9_000, timeout=60, what="that 9,000 calls are parked")
    scene.fleet.kill(scene.fleet.workers[0])
    scene.ledger.behave("/parked", Conduct(well_s=0.01, first=0))
    scene.over()
    eventually(lambda: scene.fleet.parked("parked") == 0, timeout=100, what="that all parked calls are let go")
