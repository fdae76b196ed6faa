"""What arrives at a service how often: repeated where that is safe, and never where it is not."""

from uuid import uuid4

import pytest

from gateway import GrpcCall, RestCall
from gateway.errors import (
    Delivery,
    OutcomeUnknownError,
    ServiceError,
    ServiceFaultError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.pending import PendingCall
from tests.faults.fleet import Fleet
from tests.faults.late import LateService
from tests.servers.conduct import Conduct
from tests.servers.counting import CountingService
from tests.servers.counting_rpc import CountingRpc

ATTEMPTS = 3
RESET = Conduct(action="reset")
HANG = Conduct(action="hang")


def asked(method: str, path: str, *, service: str = "repeats") -> RestCall:
    if method in ("POST", "PATCH", "PUT"):
        return RestCall(service, method, path, json={"amount": 1})
    return RestCall(service, method, path)


def rpc(method: str, case: str, *, service: str = "repeats", **request: object) -> GrpcCall:
    return GrpcCall(service, f"counting.Counter/{method}", {"case": case, **request})


def case_path() -> str:
    return f"/repeats/{uuid4().hex}"


def error_of(pending: PendingCall) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        pending.result()
    return caught.value


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("conduct", [RESET, HANG], ids=["reset after sending", "timeout"])
def test_what_may_not_be_repeated_arrives_once(
    fleet: Fleet, counting: CountingService, method: str, conduct: Conduct
) -> None:
    path = case_path()
    counting.behave(path, conduct)
    error = error_of(fleet.gateway.submit(asked(method, path)))
    assert type(error) is OutcomeUnknownError
    assert error.delivery is Delivery.MAYBE_SENT
    assert error.attempts == 1
    assert len(counting.arrivals(path)) == 1


@pytest.mark.parametrize(
    ("method", "conduct"),
    [*((method, RESET) for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")), ("GET", HANG), ("PUT", HANG)],
    ids=lambda value: value.action if isinstance(value, Conduct) else value,
)
def test_an_idempotent_method_is_repeated(
    fleet: Fleet, counting: CountingService, method: str, conduct: Conduct
) -> None:
    path = case_path()
    counting.behave(path, conduct)
    error = error_of(fleet.gateway.submit(asked(method, path)))
    assert isinstance(error, ServiceTimeoutError if conduct is HANG else ServiceUnavailableError)
    assert error.attempts == ATTEMPTS
    arrivals = counting.arrivals(path)
    assert len(arrivals) == ATTEMPTS
    assert len({arrival.request_id for arrival in arrivals}) == ATTEMPTS
    assert {arrival.correlation_id for arrival in arrivals} == {error.correlation_id}


@pytest.mark.parametrize("conduct", [RESET, HANG], ids=["reset after sending", "timeout"])
def test_an_idempotency_key_makes_a_post_repeatable_and_goes_with_every_attempt(
    fleet: Fleet, counting: CountingService, conduct: Conduct
) -> None:
    path, key = case_path(), uuid4().hex
    counting.behave(path, Conduct(action=conduct.action, first=ATTEMPTS - 1))
    reply = fleet.gateway.submit(asked("POST", path), idempotency_key=key).result()
    arrivals = counting.arrivals(path)
    assert reply.attempts == len(arrivals) == ATTEMPTS
    assert {arrival.idempotency_key for arrival in arrivals} == {key}
    assert len({arrival.request_id for arrival in arrivals}) == ATTEMPTS
    assert reply.request_id == arrivals[-1].request_id


@pytest.mark.parametrize(
    ("status", "expected", "arrivals"),
    [
        (400, ServiceRejectedError, 1),
        (404, ServiceRejectedError, 1),
        (500, ServiceFaultError, 1),
        (502, ServiceUnavailableError, ATTEMPTS),
        (503, ServiceUnavailableError, ATTEMPTS),
        (504, ServiceUnavailableError, ATTEMPTS),
    ],
)
def test_the_status_decides_about_an_idempotent_call(
    fleet: Fleet, counting: CountingService, status: int, expected: type[ServiceError], arrivals: int
) -> None:
    path = case_path()
    counting.behave(path, Conduct(status=status))
    error = error_of(fleet.gateway.submit(asked("GET", path)))
    assert isinstance(error, expected)
    assert error.status == status
    assert error.attempts == len(counting.arrivals(path)) == arrivals


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_post_is_not_repeated_after_a_status_that_says_nothing_about_it(
    fleet: Fleet, counting: CountingService, status: int
) -> None:
    path = case_path()
    counting.behave(path, Conduct(status=status))
    error = error_of(fleet.gateway.submit(asked("POST", path)))
    assert error.status == status
    assert len(counting.arrivals(path)) == 1


def test_a_post_that_was_refused_by_status_is_repeated(fleet: Fleet, counting: CountingService) -> None:
    path = case_path()
    counting.behave(path, Conduct(status=408, first=1))
    assert fleet.gateway.submit(asked("POST", path)).result().status == 200
    assert len(counting.arrivals(path)) == 2


def test_a_post_that_never_left_is_repeated_until_it_arrives(fleet: Fleet, late: LateService) -> None:
    pending = fleet.gateway.submit(asked("POST", "/late", service="late"), deadline=20.0)
    # It has failed by now: a worker that is ready takes a call within milliseconds.
    with pytest.raises(TimeoutError):
        pending.result(timeout=0.5)
    service = late.start()
    reply = pending.result()
    assert reply.attempts > 1
    assert len(service.arrivals("/late")) == 1


@pytest.mark.parametrize("method", ["Read", "Put"])
@pytest.mark.parametrize("how", ["HANG", "UNAVAILABLE"])
def test_a_method_that_its_proto_calls_idempotent_is_repeated(
    fleet: Fleet, counting_rpc: CountingRpc, method: str, how: str
) -> None:
    case = uuid4().hex
    reply = fleet.gateway.submit(rpc(method, case, failures=2, status=how)).result()
    arrivals = counting_rpc.arrivals(case)
    assert reply.data == {"number": ATTEMPTS}
    assert reply.attempts == len(arrivals) == ATTEMPTS
    assert len({arrival.request_id for arrival in arrivals}) == ATTEMPTS


@pytest.mark.parametrize(("how", "expected"), [("HANG", OutcomeUnknownError), ("UNAVAILABLE", ServiceUnavailableError)])
def test_a_method_of_which_its_proto_says_nothing_is_not(
    fleet: Fleet, counting_rpc: CountingRpc, how: str, expected: type[ServiceError]
) -> None:
    case = uuid4().hex
    error = error_of(fleet.gateway.submit(rpc("Add", case, failures=1, status=how)))
    assert type(error) is expected
    assert len(counting_rpc.arrivals(case)) == 1


def test_a_method_with_an_idempotency_key_is_repeated(fleet: Fleet, counting_rpc: CountingRpc) -> None:
    case, key = uuid4().hex, uuid4().hex
    fleet.gateway.submit(rpc("Add", case, failures=1, status="HANG"), idempotency_key=key).result()
    assert [arrival.idempotency_key for arrival in counting_rpc.arrivals(case)] == [key, key]


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "INTERNAL", "FAILED_PRECONDITION"])
def test_a_code_that_repeating_does_not_cure_is_final(fleet: Fleet, counting_rpc: CountingRpc, code: str) -> None:
    case = uuid4().hex
    error = error_of(fleet.gateway.submit(rpc("Read", case, failures=1, status=code)))
    assert error.status == code
    assert len(counting_rpc.arrivals(case)) == 1
