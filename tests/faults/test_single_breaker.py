"""The fleet has one breaker for each service, however many workers ask it."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import PendingCall, Reply, RestCall
from tests.faults.figures import show
from tests.faults.fleet import Fleet, eventually
from tests.faults.load import load
from tests.faults.watch import Watch
from tests.servers.conduct import Conduct
from tests.servers.counting import Arrival, CountingService

#: Of the service `trips`.
RESET_S = 3.0
#: Of the service `probed`.
PROBES = 3
#: Seconds after a trip within which what was on its way has arrived; less than the service's `reset_timeout`.
SETTLED_S = 0.5
WITHIN_S = 1.0
HANDFUL = 20
UNAVAILABLE = Conduct(status=503, delay_s=0.01)

_CATALOGUE = """
[services.probed]
rest.url = "${COUNTING_URL}"
timeouts = { total = 30.0, attempt = 2.0 }
retry = { attempts = 5, backoff = 0.05, max_backoff = 0.2, budget = 1.0, budget_per_s = 1000.0 }
breaker = { fail_max = 5, reset_timeout = 1.0, success_threshold = 3 }
"""


@pytest.fixture
def own(counting: CountingService, tmp_path: Path) -> Iterator[Fleet]:
    """Four workers that a test may kill."""
    with Fleet(tmp_path, _CATALOGUE, {"COUNTING_URL": counting.url}, workers=4) as fleet:
        yield fleet


def trip(fleet: Fleet, counting: CountingService, service: str, path: str) -> list[PendingCall]:
    """Open the breaker, and have calls waiting for it."""
    counting.behave(path, UNAVAILABLE)
    pending = fleet.gateway.submit_many([RestCall(service, "GET", path)] * 60, deadline=60.0)
    eventually(lambda: fleet.breaker(service)["phase"] == "open", timeout=15, what="the trip")
    return pending


def since(arrivals: list[Arrival], moment: float) -> list[Arrival]:
    return [arrival for arrival in arrivals if arrival.at > moment]


def test_a_trip_is_known_to_all_within_a_second(fleet: Fleet, counting: CountingService) -> None:
    path = "/single/trips"
    call = RestCall("trips", "GET", path)
    counting.behave(path, Conduct(status=503, delay_s=0.01, since_s=1.5, until_s=4.0, well_s=0.01))
    with Watch(fleet, "trips") as watch:
        samples = asyncio.run(load(fleet.gateway, lambda _: call, rate=100, seconds=4.0, deadline=60.0, batch=4))
    opened = watch.first("open")
    probed = opened + RESET_S - 0.1
    workers = {fleet.record(sample.call_id).get("worker") for sample in samples if sample.ended < opened}
    meanwhile = [arrival for arrival in counting.arrivals(path) if opened < arrival.at < probed]
    late = since(meanwhile, opened + WITHIN_S)
    last = max((arrival.at for arrival in meanwhile), default=opened) - opened
    asked = sum(opened + WITHIN_S < sample.submitted < probed for sample in samples)
    show(
        f"{len(workers)} workers; after the trip was seen {len(meanwhile)} requests arrived, the last {last:.3f} s"
        f" after it; {asked} calls were submitted in the time without one"
    )
    assert len(workers) == len(fleet.workers)
    assert asked > 50
    assert late == []
    assert len(meanwhile) <= HANDFUL
    assert all(isinstance(sample.outcome, Reply) for sample in samples)


def test_half_open_lets_so_many_probes_through_in_the_whole_fleet(fleet: Fleet, counting: CountingService) -> None:
    path = "/single/probed"
    pending = trip(fleet, counting, "probed", path)
    # Long enough that every worker would have sent its own, and shorter than an attempt may take.
    counting.behave(path, Conduct(delay_s=1.0))
    before = time.monotonic() + SETTLED_S
    eventually(lambda: since(counting.arrivals(path), before), timeout=20, what="the first probe")
    # These meet the half-open breaker, beside those that waited for it.
    pending += fleet.gateway.submit_many([RestCall("probed", "GET", path)] * 40, deadline=60.0)
    eventually(lambda: fleet.breaker("probed")["phase"] == "closed", timeout=20, what="the closing")
    arrivals = since(counting.arrivals(path), before)
    answered = min(arrival.ended for arrival in arrivals if arrival.ended is not None)
    probes = [arrival for arrival in arrivals if arrival.at < answered]
    show(f"{len(probes)} probes from 4 workers, in {probes[-1].at - probes[0].at:.3f} s; {PROBES} are allowed")
    counting.behave(path, Conduct())
    assert len(probes) == PROBES
    assert all(call.result().status == 200 for call in pending)


def test_a_probe_whose_worker_is_killed_gives_its_place_back(own: Fleet, counting: CountingService) -> None:
    path = "/single/killed"
    pending = trip(own, counting, "probed", path)
    counting.behave(path, Conduct(action="hang"))
    before = time.monotonic() + SETTLED_S
    eventually(lambda: len(since(counting.arrivals(path), before)) == PROBES, timeout=20, what="the probes")
    killed = time.monotonic()
    counting.behave(path, Conduct())
    probing = own.redis.zrange("gateway:probes:probed", 0, -1)
    assert len(probing) == PROBES
    # Every worker that has a probe; at least one of the four has none.
    for member in probing:
        owner = own.owner(member.partition("#")[0])
        if owner is not None:
            own.kill(owner)
    assert 1 <= len(own.workers) < 4
    eventually(lambda: own.breaker("probed")["phase"] == "closed", timeout=30, what="the closing")
    dead = 4 - len(own.workers)
    show(f"{dead} of 4 workers killed with {PROBES} probes; closed {time.monotonic() - killed:.1f} s later")
    # What the dead workers had comes back when the broker's visibility timeout has passed.
    own.end_leases(call.id for call in pending if own.owner(call.id) is None)
    own.redeliver()
    assert all(call.result().status == 200 for call in pending)
