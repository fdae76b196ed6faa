"""What a gRPC status that is not OK means: the one table for it, and who said it.

grpc.aio reports a status that the service sent and one that the library made up in the same way, and since grpcio 1.85
its debug string no longer tells them apart. What is left to go by is what came with it:

- trailing metadata comes from the service only;
- the library's own deadline cannot pass early;
- a connection that is lost or reset ends in one of the library's own sentences (`_LOCAL`). A service that passes on
  such a sentence from a service behind it is taken for a lost connection, so the mistake is on the safe side.

`not_sent` is never read from a sentence alone, because a service that had already acted may pass one on.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pool import Default, DescriptorPool
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from gateway.errors import (
    Delivery,
    InvalidReplyError,
    RateLimitedError,
    ServiceAuthError,
    ServiceError,
    ServiceFaultError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.outcome import Failure
from workers.transports.nesting import is_too_deep

__all__ = ["ERRORS", "Ended", "headers_of", "says_lost", "to_failure"]

#: Status → error. `ABORTED` is the service's verdict on this call (a conflict that repeating alone does not cure);
#: `CANCELLED` is none: nobody here cancelled, so something over there gave up.
ERRORS: Mapping[grpc.StatusCode, type[ServiceError]] = {
    grpc.StatusCode.CANCELLED: ServiceFaultError,
    grpc.StatusCode.UNKNOWN: ServiceFaultError,
    grpc.StatusCode.INVALID_ARGUMENT: ServiceRejectedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: ServiceTimeoutError,
    grpc.StatusCode.NOT_FOUND: ServiceRejectedError,
    grpc.StatusCode.ALREADY_EXISTS: ServiceRejectedError,
    grpc.StatusCode.PERMISSION_DENIED: ServiceAuthError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimitedError,
    grpc.StatusCode.FAILED_PRECONDITION: ServiceRejectedError,
    grpc.StatusCode.ABORTED: ServiceRejectedError,
    grpc.StatusCode.OUT_OF_RANGE: ServiceRejectedError,
    grpc.StatusCode.UNIMPLEMENTED: ServiceRejectedError,
    grpc.StatusCode.INTERNAL: ServiceFaultError,
    grpc.StatusCode.UNAVAILABLE: ServiceUnavailableError,
    grpc.StatusCode.DATA_LOSS: ServiceFaultError,
    grpc.StatusCode.UNAUTHENTICATED: ServiceAuthError,
}

_DETAILS = "grpc-status-details-bin"
_PUSHBACK = "grpc-retry-pushback-ms"
#: The C core's timers count milliseconds and may fire one early.
_TIMER_S = 0.005

_LOCAL = re.compile(
    r"Stream removed \(|failed to connect to |errors resolving |empty address list|Deadline Exceeded\Z"
    r"|(?:RST_STREAM|Received RST_STREAM|GOAWAY received|Socket closed|recvmsg:|sendmsg:|Broken pipe)"
    r"|Connection reset|(?:keepalive|ping) (?:watchdog )?timeout|(?:[Cc]hannel|Transport|Endpoint) (?:is )?clos"
)
#: A stream above the last one that GOAWAY names was not and will not be processed (RFC 9113, section 6.8).
_GOAWAY = re.compile(r"Stream removed \(GOAWAY received")
_ONE_STREAM = re.compile(r"Stream removed \(RST_STREAM")
_GARBLED_CONNECTION = re.compile(r"Stream removed \(Failed parsing HTTP/2")
_GARBLED_REPLY = re.compile(
    r"No status received|Compression bit set|(?:Stream removed \()?(?:Data frame with END_STREAM|Error parsing ')"
)
_OUR_LIMIT = re.compile(r"(?:Stream removed \()?(?:CLIENT: Received message larger|received metadata size exceeds)")
_UNPACKED_LIMIT = re.compile(r"Decompressed message larger than max\Z")
_THEIR_LIMIT = re.compile(r"(?i)message larger than max")
_HTTP_STATUS = re.compile(r"Received http2 header with status: (\d{3})\Z")
_BREAKS = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an RPC ended that was started on a ready channel.

    Attributes:
        error: what grpc.aio raised.
        elapsed_s, timeout_s: how long it took, and how long it was allowed to.
        disconnected: whether the channel is no longer ready.
        pool: knows the types of the service's own error details.
    """

    error: grpc.aio.AioRpcError
    elapsed_s: float
    timeout_s: float
    disconnected: bool
    pool: DescriptorPool | None = None


def says_lost(error: grpc.aio.AioRpcError) -> bool:
    """Whether an error reads as if the connection were lost, and not this RPC alone."""
    text = error.details() or ""
    if error.trailing_metadata():
        return False
    if _GARBLED_CONNECTION.match(text):
        return True
    return (
        error.code() is grpc.StatusCode.UNAVAILABLE and _LOCAL.match(text) is not None and not _ONE_STREAM.match(text)
    )


def to_failure(ended: Ended) -> Failure:
    """The failure of an RPC that did not end with OK.

    Its `details` are `{"message": ..., "details": [...]}` where the service answered: the status message, and the error
    details (`google.rpc.Status`) as JSON with their `@type`; those of an unknown type, or nested too
    deep, keep their bytes as base64 in `value`. Where it did not answer they are None.
    """
    error = ended.error
    code, text = error.code(), _one_line(error.details())
    trailing = list(error.trailing_metadata() or ())
    delivery = _delivery(ended, text, seen=bool(trailing))
    local = delivery is not Delivery.ANSWERED
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and local:
        return _timed_out(ended.timeout_s, delivery)
    kind = _kind(code, text, trailing_seen=bool(trailing))
    answered = Delivery.ANSWERED if kind is InvalidReplyError and not _GARBLED_CONNECTION.match(text) else delivery
    status = _status(trailing)
    return Failure(
        error=kind,
        message=f"{code.name}: {text}" if text else code.name,
        delivery=answered,
        status=None if answered is not Delivery.ANSWERED else code.name,
        details=None if local else {"message": error.details() or "", "details": _details(status, ended.pool)},
        retry_after_s=_retry_after_s(trailing, status),
        extra={"phase": "attempt"} if issubclass(kind, ServiceTimeoutError) else {},
        repeatable=not _forbids_retries(trailing),
    )


def _timed_out(timeout_s: float, delivery: Delivery) -> Failure:
    return Failure(
        error=ServiceTimeoutError,
        message=f"no reply within {timeout_s:.3g} s",
        delivery=delivery,
        extra={"phase": "attempt"},
    )


def _delivery(ended: Ended, text: str, *, seen: bool) -> Delivery:
    if seen:
        return Delivery.ANSWERED
    code = ended.error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        early = ended.elapsed_s < ended.timeout_s - _TIMER_S
        return Delivery.ANSWERED if early else Delivery.MAYBE_SENT
    if not _LOCAL.match(text):
        return Delivery.ANSWERED
    initial = list(ended.error.initial_metadata() or ())
    # The sentence and the lost connection together: neither alone is evidence.
    if _GOAWAY.match(text) and ended.disconnected and not initial:
        return Delivery.NOT_SENT
    return Delivery.MAYBE_SENT


def _kind(code: grpc.StatusCode, text: str, *, trailing_seen: bool) -> type[ServiceError]:
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # Waiting cures neither a reply that is too large for us nor a request that is too large for them.
        if not trailing_seen and (_OUR_LIMIT.match(text) or _UNPACKED_LIMIT.match(text)):
            return InvalidReplyError
        if _THEIR_LIMIT.search(text):
            return ServiceRejectedError
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) and (
        _GARBLED_CONNECTION.match(text) or _GARBLED_REPLY.match(text)
    ):
        return InvalidReplyError
    http = _HTTP_STATUS.match(text)
    if http and http[1] == "429":
        return RateLimitedError
    return ERRORS.get(code, ServiceFaultError)


def _one_line(text: str | None) -> str:
    return _BREAKS.sub(" ", text or "").strip()


def _status(trailing: Iterable[tuple[str, str | bytes]]) -> Status | None:
    for name, value in trailing:
        if name == _DETAILS and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                return None
    return None


def _details(status: Status | None, pool: DescriptorPool | None) -> list[dict[str, Any]]:
    return [] if status is None else [_detail(detail, pool) for detail in status.details]


def _detail(detail: AnyMessage, pool: DescriptorPool | None) -> dict[str, Any]:
    for known in (Default(), pool):
        if known is None:
            continue
        try:
            plain: dict[str, Any] = json_format.MessageToDict(
                detail, preserving_proto_field_name=True, descriptor_pool=known
            )
        except (TypeError, ValueError, DecodeError, json_format.Error, RecursionError):
            continue
        if not is_too_deep(plain):
            return plain
    return {"@type": detail.type_url, "value": base64.b64encode(detail.value).decode("ascii")}


def _is_milliseconds(value: str | bytes) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10


def _forbids_retries(trailing: Iterable[tuple[str, str | bytes]]) -> bool:
    """Whether the service forbids retries: by a negative or unreadable pushback (gRFC A6)."""
    return any(name == _PUSHBACK and not _is_milliseconds(value) for name, value in trailing)


def _retry_after_s(trailing: Iterable[tuple[str, str | bytes]], status: Status | None) -> float | None:
    for name, value in trailing:
        if name == _PUSHBACK and _is_milliseconds(value):
            return int(value) / 1000
    for detail in status.details if status else ():
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            info = error_details_pb2.RetryInfo()
            try:
                detail.Unpack(info)
            except DecodeError:
                return None
            delay = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
            return delay if delay >= 0 else None
    return None


def headers_of(*metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    """Initial and trailing metadata as reply headers.

    Names in lower case; repeated ones joined with `", "`; values of `-bin` names as base64. The error details are left
    out: they are in the failure.
    """
    headers: dict[str, str] = {}
    for name, value in (pair for part in metadata for pair in part or ()):
        lower = name.lower()
        if lower == _DETAILS:
            continue
        text = base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        headers[lower] = f"{headers[lower]}, {text}" if lower in headers else text
    return headers
