"""Retries are a share of the calls, over the whole fleet: a service that fails is not asked three times as much."""

import time

import pytest

from gateway import RestCall
from gateway.errors import DeadlineExceededError, ServiceUnavailableError
from tests.faults.figures import show
from tests.faults.fleet import Fleet
from tests.servers.conduct import Conduct
from tests.servers.counting import CountingService

CALLS = 300
SHARE = 0.1
PER_S = 1.0


def test_retries_are_a_share_of_the_calls(fleet: Fleet, counting: CountingService) -> None:
    counting.behave("/budget", Conduct(status=503))
    began = time.monotonic()
    pending = fleet.gateway.submit_many([RestCall("frugal", "GET", "/budget")] * CALLS, deadline=5.0)
    for call in pending:
        # Some wait for the budget until their deadline.
        with pytest.raises((ServiceUnavailableError, DeadlineExceededError)):
            call.result()
    took_s = time.monotonic() - began
    arrivals = counting.arrivals("/budget")
    workers = {fleet.record(call.id).get("worker") for call in pending}
    retries = len(arrivals) - CALLS
    allowed = CALLS * SHARE + PER_S * took_s + PER_S
    show(
        f"{CALLS} calls that failed in {len(workers)} workers were repeated {retries} times; {allowed:.0f} are allowed"
    )
    assert len(workers) == len(fleet.workers)
    assert 0 < retries <= allowed
