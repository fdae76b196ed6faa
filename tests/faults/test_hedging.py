"""A second attempt beside the first: it cuts the tail, costs little, and leaves nothing behind."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from gateway import Reply, RestCall
from tests.faults.figures import show
from tests.faults.fleet import Fleet, eventually
from tests.faults.load import Sample, load, percentile
from tests.servers.conduct import Conduct
from tests.servers.counting import Arrival, CountingService

#: 2 % of the answers take 500 ms, the others 10 ms.
UNEVEN = Conduct(delay_s=0.5, every=50, well_s=0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured.

    Attributes:
        calls: of each of the two services.
        rate: calls a second.
        hedged: the service with hedges. A percentile is learned from hundreds of latencies in each worker: before that,
            chance can put the slow answers below it.
    """

    calls: int
    rate: float
    hedged: str


QUICK = Scale(calls=600, rate=150, hedged="hedged-after")
LONG = Scale(calls=6000, rate=150, hedged="hedged")


def measured(fleet: Fleet, service: str, path: str, scale: Scale) -> list[Sample]:
    call = RestCall(service, "GET", path)
    seconds = scale.calls / scale.rate
    return asyncio.run(load(fleet.gateway, lambda _: call, rate=scale.rate, seconds=seconds, deadline=30.0))


def in_worker_s(samples: Iterable[Sample]) -> list[float]:
    """How long each call was in its worker, admission and all attempts included."""
    replies = [sample.outcome for sample in samples]
    return [reply.timing.total or 0.0 for reply in replies if isinstance(reply, Reply)]


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(QUICK, id="quick"),
        pytest.param(LONG, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],
)
def test_the_tail_is_halved_for_five_percent_more_requests(
    fleet: Fleet, counting: CountingService, scale: Scale
) -> None:
    latencies = {}
    requests = {}
    for service in ("unhedged", scale.hedged):
        path = f"/hedging/{service}/{scale.calls}"
        counting.behave(path, UNEVEN)
        samples = measured(fleet, service, path, scale)
        latencies[service] = in_worker_s(samples)
        requests[service] = counting.arrivals(path)
        assert len(latencies[service]) == scale.calls
    for service, values in latencies.items():
        p50, p99 = percentile(values, 50), percentile(values, 99)
        more = len(requests[service]) / scale.calls - 1
        show(f"{service}: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, {more:+.1%} requests")
    assert len(requests["unhedged"]) == scale.calls
    assert percentile(latencies[scale.hedged], 99) <= percentile(latencies["unhedged"], 99) / 2
    assert scale.calls < len(requests[scale.hedged]) <= scale.calls * 1.05
    check_identity(requests[scale.hedged], scale.calls)


def check_identity(arrivals: list[Arrival], calls: int) -> None:
    """A second attempt is of the same call, and has a request id of its own."""
    of_call = Counter(arrival.correlation_id for arrival in arrivals)
    assert len(of_call) == calls
    assert max(of_call.values()) == 2
    assert len({arrival.request_id for arrival in arrivals}) == len(arrivals)


def test_what_may_not_be_repeated_is_not_hedged(fleet: Fleet, counting: CountingService) -> None:
    path = "/hedging/post"
    counting.behave(path, Conduct(delay_s=0.4))
    pending = fleet.gateway.submit_many([RestCall("hedged-narrow", "POST", path)] * 4)
    assert [call.result().attempts for call in pending] == [1] * 4
    assert len(counting.arrivals(path)) == 4


def test_the_loser_gives_its_connection_back(fleet: Fleet, counting: CountingService) -> None:
    """Each worker has four connections, and every call needs two: one loser that keeps its own is missed at once."""
    path = "/hedging/narrow"
    calls = 48
    for number in range(calls):
        # The first attempt hangs, so the second one wins.
        counting.behave(path, Conduct(action="hang", first=1))
        reply = fleet.gateway.submit(RestCall("hedged-narrow", "GET", path), deadline=10.0).result()
        assert reply.attempts == 2, f"call {number}"
    arrivals = counting.arrivals(path)
    assert len(arrivals) == 2 * calls
    eventually(
        lambda: all(arrival.ended is not None for arrival in counting.arrivals(path)),
        timeout=5,
        what="the end of every loser's connection",
    )
    losers = [arrival for arrival in counting.arrivals(path) if arrival.status == 0]
    assert len(losers) == calls
    assert len({arrival.peer for arrival in losers}) == calls
    # And so with its place at the service, which would otherwise be missed for seconds.
    eventually(lambda: fleet.places_taken("hedged-narrow") == 0, timeout=2, what="every attempt's place")
