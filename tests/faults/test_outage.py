"""A service that fails for a while: it is left alone, asked by probes only, and everything succeeds in the end."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from math import ceil
from pathlib import Path

import pytest

from gateway import Reply, RestCall
from tests.faults.figures import show
from tests.faults.fleet import Fleet
from tests.faults.load import load
from tests.faults.timeline import Timeline
from tests.faults.watch import Watch
from tests.servers.conduct import Conduct
from tests.servers.counting import Arrival, CountingService

PROBES = 2
#: What is on its way when the breaker opens, and what workers send until they hear of it.
HANDFUL = 30
#: Seconds after which nothing is on its way any more.
SETTLED_S = 0.5
#: How much of the steady rate a service that has just recovered may get.
MOST_OF_STEADY = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An outage.

    Attributes:
        service: of the catalogue.
        rate: calls a second.
        fails_at, well_at: seconds from the load's start.
        seconds: how long calls are submitted.
    """

    service: str
    rate: float
    fails_at: float
    well_at: float
    seconds: float


QUICK = Scale(service="outage", rate=100, fails_at=2.0, well_at=6.0, seconds=9.0)
LONG = Scale(service="outage-long", rate=200, fails_at=5.0, well_at=15.0, seconds=25.0)


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(QUICK, id="quick"),
        pytest.param(LONG, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],
)
def test_an_outage_of_one_service(fleet: Fleet, counting: CountingService, scale: Scale) -> None:
    path = f"/{scale.service}"
    call = RestCall(scale.service, "GET", path)
    failing = Conduct(status=503, delay_s=0.05, since_s=scale.fails_at, until_s=scale.well_at, well_s=0.02)
    with Watch(fleet, scale.service) as watch:
        counting.behave(path, failing)
        cpu_s = sum(fleet.cpu_s())
        start = time.monotonic()
        samples = asyncio.run(
            load(fleet.gateway, lambda _: call, rate=scale.rate, seconds=scale.seconds, deadline=60.0, batch=10)
        )
    cpu_s = sum(fleet.cpu_s()) - cpu_s
    arrivals = counting.arrivals(path)
    breaker = fleet.breaker(scale.service)
    timeline = Timeline(start, samples, arrivals, watch)
    show(*timeline.lines())
    tripped = watch.first("open")
    closed = float(breaker["closed_at"]) - time.time() + time.monotonic()
    meanwhile = [arrival for arrival in arrivals if tripped < arrival.at < closed]
    late = [arrival for arrival in meanwhile if arrival.at < tripped + SETTLED_S]
    rounds = apart(meanwhile[len(late) :])
    per_half_s = [sum(closed + n / 2 <= a.at < closed + n / 2 + 0.5 for a in arrivals) for n in range(8)]
    waited = [watch.parked(closed + n) for n in range(ceil(start + scale.seconds + 60.0 - closed))]
    released = [before - after for before, after in pairwise(waited) if before > 0]
    lost = [sample.outcome for sample in samples if not isinstance(sample.outcome, Reply)]
    recovered = max(sample.ended for sample in samples if sample.submitted < closed) - closed
    show(
        f"tripped {tripped - start - scale.fails_at:.2f} s after the first failure, closed"
        f" {closed - start - scale.well_at:.2f} s after the service was well",
        f"failed {sum(a.status == 503 for a in arrivals)} requests in all, of them {len(late)} after the trip;"
        f" probes in each half-open phase: {[len(each) for each in rounds]}",
        f"arrivals in each half second after closing: {per_half_s} (steady: {scale.rate / 2:g});"
        f" let out of parking in each second: {released}",
        f"{len(samples)} calls, {len(lost)} lost, {cpu_s / len(samples) * 1000:.1f} ms of the workers' CPU each;"
        f" what waited had its reply within {recovered:.1f} s of closing",
    )
    picture = os.environ.get("OUTAGE_SVG")
    if picture and scale is LONG and find_spec("matplotlib"):
        timeline.draw(Path(picture))
    assert lost == []
    assert len(samples) == scale.rate * scale.seconds
    assert len(late) <= HANDFUL
    assert len(rounds) >= 2
    assert [len(each) for each in rounds] == [PROBES] * len(rounds)
    assert breaker["phase"] == "closed"
    # What waited comes back as a ramp. Its last second has what was left.
    assert sum(released) == waited[0] > scale.rate
    assert released[0] <= waited[0] / 4
    assert released[:-1] == sorted(released[:-1])
    assert max(per_half_s) <= MOST_OF_STEADY * scale.rate / 2


def apart(arrivals: Sequence[Arrival], gap_s: float = 0.5) -> list[list[Arrival]]:
    """Arrivals in groups that are further apart than their members."""
    groups: list[list[Arrival]] = []
    for arrival in arrivals:
        if not groups or arrival.at - groups[-1][-1].at > gap_s:
            groups.append([])
        groups[-1].append(arrival)
    return groups
