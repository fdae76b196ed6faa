"""The table of gRPC statuses, and the evidence for who said one."""

import base64

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from gateway.errors import Delivery, RateLimitedError, ServiceTimeoutError
from gateway.outcome import Failure
from workers.transports.rpc_statuses import ERRORS, Ended, headers_of, to_failure

Pairs = tuple[tuple[str, str | bytes], ...]


def failure_of(
    code: grpc.StatusCode,
    details: str,
    *,
    initial: Pairs = (),
    trailing: Pairs = (),
    elapsed: float = 0.1,
    disconnected: bool = False,
) -> Failure:
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(*initial), grpc.aio.Metadata(*trailing), details=details)
    return to_failure(Ended(error=error, elapsed_s=elapsed, timeout_s=1.0, disconnected=disconnected))


def test_every_status_but_ok_has_its_error() -> None:
    assert set(ERRORS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


@pytest.mark.parametrize(("elapsed", "delivery"), [(0.98, Delivery.ANSWERED), (0.996, Delivery.MAYBE_SENT)])
def test_our_own_deadline_cannot_pass_early(elapsed: float, delivery: Delivery) -> None:
    failure = failure_of(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", elapsed=elapsed)
    assert (failure.error, failure.delivery) == (ServiceTimeoutError, delivery)
    assert failure.extra == {"phase": "attempt"}


def test_trailing_metadata_comes_from_the_service_only() -> None:
    lost = "Stream removed (Socket closed)"
    assert failure_of(grpc.StatusCode.UNAVAILABLE, lost).delivery is Delivery.MAYBE_SENT
    said = failure_of(grpc.StatusCode.UNAVAILABLE, lost, trailing=(("x", "y"),))
    assert said.delivery is Delivery.ANSWERED


@pytest.mark.parametrize(
    ("disconnected", "initial", "delivery"),
    [
        (True, (), Delivery.NOT_SENT),
        (False, (), Delivery.MAYBE_SENT),
        (True, (("x", "y"),), Delivery.MAYBE_SENT),
    ],
)
def test_goaway_needs_the_lost_connection_too(disconnected: bool, initial: Pairs, delivery: Delivery) -> None:
    text = "Stream removed (GOAWAY received; Error code: 0; Debug Text: )"
    failure = failure_of(grpc.StatusCode.UNAVAILABLE, text, initial=initial, disconnected=disconnected)
    assert failure.delivery is delivery


@pytest.mark.parametrize(
    "text",
    [
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused",
        "errors resolving x:1: [field:hostname lookup error]",
        "Stream removed (recvmsg:Connection reset by peer (104))",
        "Stream removed (RST_STREAM (Received RST_STREAM with error code 7))",
        "Stream removed (ping timeout)",
        "Socket closed",
        "Received RST_STREAM with error code 2",
    ],
)
def test_the_librarys_sentences_are_never_an_answer(text: str) -> None:
    failure = failure_of(grpc.StatusCode.UNAVAILABLE, text, disconnected=True)
    assert failure.delivery is Delivery.MAYBE_SENT
    assert failure.status is None
    assert failure.details is None


@pytest.mark.parametrize(
    ("pushback", "seconds"), [("1500", 1.5), ("0", 0.0), ("-1", None), ("soon", None), ("9" * 40, None), ("²", None)]
)
def test_pushback_is_milliseconds(pushback: str, seconds: float | None) -> None:
    trailing: Pairs = (("grpc-retry-pushback-ms", pushback),)
    failure = failure_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "slower", trailing=trailing)
    assert failure.error is RateLimitedError
    assert failure.retry_after_s == seconds


def test_broken_error_details_are_left_out() -> None:
    trailing: Pairs = (("grpc-status-details-bin", b"\xff\xff"),)
    failure = failure_of(grpc.StatusCode.NOT_FOUND, "no\nsuch\tuser", trailing=trailing)
    assert failure.details == {"message": "no\nsuch\tuser", "details": []}
    assert failure.message == "NOT_FOUND: no such user"


def test_an_error_detail_whose_bytes_are_broken_keeps_them() -> None:
    status = Status()
    status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff")
    trailing: Pairs = (("grpc-status-details-bin", status.SerializeToString()),)
    failure = failure_of(grpc.StatusCode.UNAVAILABLE, "later", trailing=trailing)
    assert failure.details["details"] == [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "value": "/w=="}]
    assert failure.retry_after_s is None


def test_an_error_detail_that_nests_too_deep_keeps_its_bytes() -> None:
    detail = AnyMessage()
    detail.Pack(RetryInfo())
    for _ in range(150):
        outer = AnyMessage()
        outer.Pack(detail)
        detail = outer
    status = Status(details=[detail])
    trailing: Pairs = (("grpc-status-details-bin", status.SerializeToString()),)
    failure = failure_of(grpc.StatusCode.NOT_FOUND, "no", trailing=trailing)
    (kept,) = failure.details["details"]
    assert kept == {"@type": detail.type_url, "value": base64.b64encode(detail.value).decode()}


def test_reply_headers() -> None:
    initial: Pairs = (("X-One", "1"), ("x-raw-bin", b"\x00"))
    trailing: Pairs = (("x-one", "2"), ("grpc-status-details-bin", b"1"))
    assert headers_of(initial, None, trailing) == {"x-one": "1, 2", "x-raw-bin": "AA=="}
