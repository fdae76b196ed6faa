"""Services and attempts for the tests of the gRPC transport, and what is said about their results."""

from pathlib import Path
from typing import Any

from gateway.call import GrpcCall
from gateway.errors import Delivery, ServiceError
from gateway.outcome import Failure
from gateway.policy import Policy, Timeouts
from gateway.service import GrpcEndpoint, Service
from tests.conformance.contract import attempt_of
from workers.transports.base import Answer, Attempt

__all__ = ["ROOT", "STREAM", "UNARY", "answered", "failed", "make_attempt", "make_service"]

ROOT = Path(__file__).resolve().parents[2]
UNARY = "goodgo.user.v1.UserService/GetUser"
STREAM = "goodgo.user.v1.UserService/StreamUserUpdates"


def make_service(port: int, *, policy: Policy | None = None, **endpoint: Any) -> Service:
    source = endpoint or {"protos": ["goodgo/user/v1/user.proto"]}
    return Service(
        name="user-service",
        policy=policy or Policy(timeouts=Timeouts(attempt=2.0)),
        grpc=GrpcEndpoint(target=f"127.0.0.1:{port}", **source),
    )


def make_attempt(
    request: dict[str, Any] | str,
    *,
    method: str = UNARY,
    metadata: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    budget: float = 2.0,
    max_bytes: int = 8 * 1024 * 1024,
    max_messages: int = 1000,
    **timeouts: Any,
) -> Attempt:
    body = {"user_id": request} if isinstance(request, str) else request
    return attempt_of(
        GrpcCall("user-service", method, body, metadata=metadata or {}),
        {"attempt": budget, "connect": 1.0, "pool": 1.0, **timeouts},
        headers=headers or {},
        max_reply_bytes=max_bytes,
        max_messages=max_messages,
    )


def answered(result: Answer | Failure) -> Answer:
    assert isinstance(result, Answer), result
    return result


def failed(result: Answer | Failure, error: type[ServiceError], delivery: Delivery) -> Failure:
    assert isinstance(result, Failure), result
    assert (result.error, result.delivery) == (error, delivery), result
    result.to_error(service="user-service", operation=UNARY)
    return result
