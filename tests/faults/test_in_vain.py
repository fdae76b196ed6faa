"""A call whose deadline comes before what it waits for is told so at once."""

import time

import pytest

from gateway import RestCall
from gateway.errors import CircuitOpenError, Delivery, RateLimitedError, ServiceError
from tests.faults.fleet import Fleet, eventually
from tests.servers.conduct import Conduct
from tests.servers.counting import CountingService

DEADLINE_S = 20.0
AT_ONCE_S = 2.0


def refused(fleet: Fleet, call: RestCall) -> ServiceError:
    """The error of a call that waits in vain."""
    began = time.monotonic()
    with pytest.raises(ServiceError) as caught:
        fleet.gateway.submit(call, deadline=DEADLINE_S).result()
    assert time.monotonic() - began < AT_ONCE_S
    assert caught.value.delivery is Delivery.NOT_SENT
    return caught.value


def test_an_open_breaker(fleet: Fleet, counting: CountingService) -> None:
    call = RestCall("stays-open", "GET", "/vain/open")
    counting.behave("/vain/open", Conduct(status=503))
    for pending in fleet.gateway.submit_many([call] * 20, deadline=DEADLINE_S):
        with pytest.raises(ServiceError):
            pending.result()
    assert fleet.breaker("stays-open")["phase"] == "open"
    arrived = len(counting.arrivals("/vain/open"))
    assert type(refused(fleet, call)) is CircuitOpenError
    assert len(counting.arrivals("/vain/open")) == arrived


def test_a_block_that_the_service_asked_for(fleet: Fleet, counting: CountingService) -> None:
    call = RestCall("asks-for-a-minute", "GET", "/vain/block")
    counting.behave("/vain/block", Conduct(status=429, retry_after="60"))
    with pytest.raises(RateLimitedError):
        fleet.gateway.submit(call, deadline=DEADLINE_S).result(timeout=AT_ONCE_S)
    eventually(lambda: fleet.blocked("asks-for-a-minute"), timeout=1, what="the fleet's knowledge of it")
    error = refused(fleet, call)
    assert type(error) is RateLimitedError
    assert error.retry_after_s is not None
    assert 50 < error.retry_after_s <= 60
    assert len(counting.arrivals("/vain/block")) == 1


def test_a_rate(fleet: Fleet, counting: CountingService) -> None:
    call = RestCall("rare", "GET", "/vain/rate")
    assert fleet.gateway.submit(call, deadline=DEADLINE_S).result().status == 200
    assert type(refused(fleet, call)) is RateLimitedError
    assert len(counting.arrivals("/vain/rate")) == 1
