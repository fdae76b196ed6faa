"""A service that hangs, with thousands of calls waiting for it, hurts no other service and costs no memory."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import Reply, RestCall
from tests.faults.figures import show
from tests.faults.fleet import Fleet
from tests.faults.load import Sample, load, percentile
from tests.servers.conduct import Conduct
from tests.servers.counting import CountingService

_CATALOGUE = """
[services.hangs]
rest.url = "${COUNTING_URL}"
breaker = { enabled = true }

[services.hangs-unbroken]
rest.url = "${COUNTING_URL}"
breaker = { enabled = false }

[services.well]
rest.url = "${COUNTING_URL}"
"""

RATE = 50
DEADLINE_S = 120.0
#: Calls that are submitted together.
CHUNK = 500
WARM_UP_S = 3.0
#: Far less than any call has to wait that is behind those of the other service.
LONGEST_MS = 1000.0
#: Of what is taken and parked in a moment, not of how much is: 8 to 10 MB with 3,000 calls as with 10,000.
MOST_GROWTH_MB = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is asked.

    Attributes:
        hanging: which of the services that hang.
        calls: to it.
        seconds: how long the other service is asked, alone and beside it.
        share, most: the percentile of its latencies that may grow, and by how much. The 99th of a few hundred calls is
            the third slowest, which is decided by whatever else the machine does.
    """

    hanging: str
    calls: int
    seconds: float
    share: float
    most: float


@pytest.fixture
def pair(counting: CountingService, tmp_path: Path) -> Iterator[Fleet]:
    """Two workers, each with calls of both services."""
    with Fleet(tmp_path, _CATALOGUE, {"COUNTING_URL": counting.url}, workers=2) as fleet:
        yield fleet


def ask(fleet: Fleet, seconds: float) -> list[Sample]:
    """A steady load on the service that is well."""
    call = RestCall("well", "GET", "/bulkhead/well")
    return asyncio.run(load(fleet.gateway, lambda _: call, rate=RATE, seconds=seconds, deadline=DEADLINE_S))


def latencies_ms(samples: list[Sample]) -> list[float]:
    assert all(isinstance(sample.outcome, Reply) for sample in samples)
    return [sample.latency_s * 1000 for sample in samples]


def described(values: list[float]) -> str:
    return ", ".join(f"p{share} {percentile(values, share):.0f} ms" for share in (50, 95, 99))


SLOW = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(Scale(hanging="hangs", calls=3000, seconds=6.0, share=50, most=3.0), id="3,000 calls"),
        pytest.param(
            Scale(hanging="hangs", calls=10_000, seconds=20.0, share=99, most=2.0), id="10,000 calls", marks=SLOW
        ),
        pytest.param(
            Scale(hanging="hangs-unbroken", calls=10_000, seconds=20.0, share=99, most=2.0),
            id="10,000 calls, no breaker",
            marks=SLOW,
        ),
    ],
)
def test_a_hanging_service_hurts_no_other(pair: Fleet, counting: CountingService, scale: Scale) -> None:
    counting.behave("/bulkhead/well", Conduct(delay_s=0.02))
    counting.behave("/bulkhead/hangs", Conduct(action="hang"))
    ask(pair, WARM_UP_S)
    alone = latencies_ms(ask(pair, scale.seconds))
    before_mb = pair.rss_mb()
    flood = [RestCall(scale.hanging, "GET", "/bulkhead/hangs")] * CHUNK
    for _ in range(scale.calls // CHUNK):
        pair.gateway.submit_many(flood, deadline=DEADLINE_S)
    beside = latencies_ms(ask(pair, scale.seconds))
    after_mb = pair.rss_mb()
    hung = counting.arrivals("/bulkhead/hangs")
    parked, waiting = pair.parked(scale.hanging), pair.waiting(scale.hanging)
    measured = (("alone", alone), ("beside it", beside))
    show(
        f"{scale.calls} calls to a service that hangs: {len(hung)} arrived there, {parked} are parked, {waiting} are in"
        " the queue",
        *(f"the other service {name}: {described(values)}" for name, values in measured),
        *(
            f"a worker's memory: {before:.1f} MB before, {after:.1f} MB after"
            for before, after in zip(before_mb, after_mb, strict=True)
        ),
    )
    assert hung
    assert parked + waiting > scale.calls * 0.9
    assert max(beside) < LONGEST_MS
    assert percentile(beside, scale.share) <= scale.most * percentile(alone, scale.share)
    assert all(abs(after - before) <= MOST_GROWTH_MB for before, after in zip(before_mb, after_mb, strict=True))
