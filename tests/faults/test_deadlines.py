"""One deadline: nothing is sent after it, and no attempt outlasts it."""

import time
from uuid import uuid4

import pytest

from gateway import GrpcCall, RestCall
from gateway.errors import DeadlineExceededError, Delivery, ServiceTimeoutError
from tests.faults.figures import show
from tests.faults.fleet import Fleet
from tests.servers.conduct import Conduct
from tests.servers.counting import CountingService
from tests.servers.counting_rpc import CountingRpc

ATTEMPT_S = 0.6
#: What a service is told is what was left when it was asked; it looks at its clock a little later.
NOTICED_S = 0.05
HANG = Conduct(action="hang")


def test_a_call_whose_deadline_passed_in_the_queue_is_never_sent(fleet: Fleet, counting: CountingService) -> None:
    path = f"/bounded/{uuid4().hex}"
    fleet.freeze()
    try:
        pending = fleet.gateway.submit_many([RestCall("bounded", "GET", path)] * 8, deadline=0.5)
        time.sleep(1.0)  # the deadline, and more
    finally:
        fleet.thaw()
    for call in pending:
        with pytest.raises(DeadlineExceededError) as caught:
            call.result(timeout=10)
        assert caught.value.delivery is Delivery.NOT_SENT
        assert caught.value.attempts == 0
    assert counting.arrivals(path) == []
    # The workers are well, so it is the deadline that kept the calls from them.
    assert fleet.gateway.submit(RestCall("bounded", "GET", path)).result().status == 200


@pytest.mark.parametrize(("deadline", "most"), [(10.0, ATTEMPT_S), (0.4, 0.4)], ids=["its own", "what is left"])
def test_grpc_is_told_what_an_attempt_may_take(
    fleet: Fleet, counting_rpc: CountingRpc, deadline: float, most: float
) -> None:
    case = uuid4().hex
    pending = fleet.gateway.submit(GrpcCall("bounded", "counting.Counter/Read", {"case": case}), deadline=deadline)
    pending.result()
    (arrival,) = counting_rpc.arrivals(case)
    assert pending.deadline_at is not None
    assert arrival.remaining_s is not None
    # gRPC rounds the time in its header up to a millisecond at this scale.
    assert 0 < arrival.remaining_s <= most + 0.002
    assert arrival.remaining_s <= pending.deadline_at - arrival.unix + NOTICED_S


def test_the_last_attempt_of_grpc_has_what_the_others_left(fleet: Fleet, counting_rpc: CountingRpc) -> None:
    case = uuid4().hex
    call = GrpcCall("bounded", "counting.Counter/Read", {"case": case, "failures": 99, "status": "HANG"})
    pending = fleet.gateway.submit(call, deadline=0.9)
    with pytest.raises(ServiceTimeoutError):
        pending.result()
    arrivals = counting_rpc.arrivals(case)
    left = [arrival.remaining_s or 0.0 for arrival in arrivals]
    show(f"with 0.9 s and {ATTEMPT_S} s for an attempt, gRPC was told {', '.join(f'{s:.3f}' for s in left)} s")
    assert len(arrivals) >= 2
    assert left[0] <= ATTEMPT_S + 0.002
    assert left[-1] < ATTEMPT_S - 0.2
    assert pending.deadline_at is not None
    for arrival, seconds in zip(arrivals, left, strict=True):
        assert seconds <= pending.deadline_at - arrival.unix + NOTICED_S


def test_each_attempt_of_rest_takes_the_smaller_of_its_own_and_what_is_left(
    fleet: Fleet, counting: CountingService
) -> None:
    path = f"/bounded/{uuid4().hex}"
    counting.behave(path, HANG)
    began = time.monotonic()
    with pytest.raises(ServiceTimeoutError):
        fleet.gateway.submit(RestCall("bounded", "GET", path), deadline=0.9).result()
    took_s = time.monotonic() - began
    arrivals = counting.arrivals(path)
    spans = [arrival.ended - arrival.at for arrival in arrivals if arrival.ended is not None]
    show(f"with 0.9 s and {ATTEMPT_S} s for an attempt, they took {', '.join(f'{s:.3f}' for s in spans)} s")
    assert len(spans) == len(arrivals) >= 2
    assert ATTEMPT_S - 0.05 < spans[0] < ATTEMPT_S + 0.1
    assert spans[-1] < ATTEMPT_S - 0.2
    assert took_s < 0.9 + 0.5
