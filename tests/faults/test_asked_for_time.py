"""A service that says when it wants to be asked again is not asked before."""

from uuid import uuid4

import pytest

from gateway import GrpcCall, RestCall
from gateway.errors import Delivery, RateLimitedError, ServiceUnavailableError
from tests.faults.figures import show
from tests.faults.fleet import Fleet, eventually
from tests.servers.conduct import Conduct
from tests.servers.counting import CountingService
from tests.servers.counting_rpc import CountingRpc

#: What a call may come back later than it was asked to: jitter, the way through parking, and a busy machine.
LATE_S = 1.5


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_503_with_retry_after_comes_back_then_and_not_before(
    fleet: Fleet, counting: CountingService, method: str
) -> None:
    path = f"/asked/{uuid4().hex}"
    counting.behave(path, Conduct(status=503, retry_after="2", first=1))
    reply = fleet.gateway.submit(RestCall("asks-for-time", method, path)).result()
    first, second = counting.arrivals(path)
    show(f"{method}: asked for 2 s, came back after {second.at - first.at:.2f} s")
    assert 2.0 <= second.at - first.at < 2.0 + LATE_S
    assert reply.attempts == 2


def test_a_429_holds_up_every_call_of_the_service(fleet: Fleet, counting: CountingService) -> None:
    path = f"/asked/{uuid4().hex}"
    counting.behave(f"{path}/first", Conduct(status=429, retry_after="2", first=1))
    call = RestCall("asks-all-for-time", "POST", f"{path}/first")
    pending = fleet.gateway.submit(call)
    eventually(lambda: counting.arrivals(path), timeout=10, what="the first arrival")
    refused = counting.arrivals(path)[0].ended
    assert refused is not None
    eventually(lambda: fleet.blocked("asks-all-for-time"), timeout=1, what="the fleet's knowledge of it")
    others = fleet.gateway.submit_many([RestCall("asks-all-for-time", "POST", f"{path}/others")] * 20)
    assert pending.result().attempts == 2
    assert all(other.result().status == 200 for other in others)
    later = sorted(arrival.at - refused for arrival in counting.arrivals(path)[1:])
    show(f"refused with 2 s; the other calls came from {later[0]:.2f} s to {later[-1]:.2f} s after it")
    assert len(later) == 21
    assert later[0] >= 2.0
    assert later[0] < 2.0 + LATE_S


def test_a_pushback_of_grpc_is_kept(fleet: Fleet, counting_rpc: CountingRpc) -> None:
    case = uuid4().hex
    request = {"case": case, "failures": 1, "status": "UNAVAILABLE", "pushback_ms": "1500"}
    fleet.gateway.submit(GrpcCall("pushes-back", "counting.Counter/Read", request)).result()
    first, second = counting_rpc.arrivals(case)
    show(f"pushed back by 1.5 s, came back after {second.at - first.at:.2f} s")
    assert 1.5 <= second.at - first.at < 1.5 + LATE_S


def test_a_negative_pushback_forbids_another_attempt(fleet: Fleet, counting_rpc: CountingRpc) -> None:
    case = uuid4().hex
    request = {"case": case, "failures": 1, "status": "UNAVAILABLE", "pushback_ms": "-1"}
    with pytest.raises(ServiceUnavailableError):
        fleet.gateway.submit(GrpcCall("pushes-back", "counting.Counter/Read", request)).result()
    assert len(counting_rpc.arrivals(case)) == 1


def test_a_post_that_was_refused_and_parked_is_not_unknown(fleet: Fleet, counting: CountingService) -> None:
    """The service said that it did nothing, and the deadline comes before it may be asked again."""
    path = "/asked/refused-post"
    counting.behave(path, Conduct(status=429, retry_after="1"))
    pending = fleet.gateway.submit(RestCall("refuses-posts", "POST", path, json={"amount": 1}), deadline=3.5)
    with pytest.raises(RateLimitedError) as caught:
        pending.result()
    assert caught.value.attempts >= 2
    assert caught.value.delivery is not Delivery.MAYBE_SENT
    assert len(counting.arrivals(path)) == caught.value.attempts
