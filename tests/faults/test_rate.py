"""A limit of so many requests a second holds over the whole fleet."""

import time
from bisect import bisect_left

from gateway import RestCall
from tests.faults.figures import show
from tests.faults.fleet import Fleet
from tests.servers.counting import CountingService

CALLS = 400
LIMIT = 50
#: The limit, and 5 % for what the network between worker and service does to the distances.
MOST = 52


def most_within_a_second(moments: list[float]) -> int:
    """The most moments that any window of one second has; such a window can be moved until it begins with one."""
    return max(bisect_left(moments, start + 1.0) - number for number, start in enumerate(moments))


def test_the_measure_sees_a_herd() -> None:
    # Seconds that begin at 0, 1, 2, … have three of these at most.
    assert most_within_a_second([0.0, 0.5, 0.6, 1.2, 1.4, 1.5, 9.0]) == 4


def test_four_workers_keep_to_one_limit(fleet: Fleet, counting: CountingService) -> None:
    began = time.monotonic()
    pending = fleet.gateway.submit_many([RestCall("rated", "GET", "/rated")] * CALLS, deadline=60.0)
    replies = [call.result() for call in pending]
    took_s = time.monotonic() - began
    arrivals = counting.arrivals("/rated")
    moments = sorted(arrival.at for arrival in arrivals)
    most = most_within_a_second(moments)
    ran = {fleet.record(call.id).get("worker") for call in pending}
    show(
        f"{CALLS} calls at {LIMIT}/s from {len(ran)} workers took {took_s:.1f} s;"
        f" at most {most} arrived in any second, {len(arrivals)} in all"
    )
    assert all(reply.status == 200 for reply in replies)
    assert len(arrivals) == CALLS
    assert most <= MOST
    assert 7.5 <= took_s < 11.0
    assert len(ran) == len(fleet.workers)
