"""What the demo calls, and what must come of each call."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.call import Call, GraphQLCall, GrpcCall, RestCall
from gateway.errors import (
    CallRejectedError,
    CircuitOpenError,
    DeadlineExceededError,
    GraphQLError,
    InvalidCallError,
    OutcomeUnknownError,
    RateLimitedError,
    ServiceAuthError,
    ServiceError,
    ServiceFaultError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    UnknownServiceError,
)
from gateway.reply import Reply

__all__ = ["BEHAVIOUR", "CASES", "GET_USER", "STREAM", "Case"]

#: The header, or gRPC metadata, by which a call asks the demo service to misbehave.
BEHAVIOUR = "x-demo-behaviour"

GET_USER = "goodgo.user.v1.UserService/GetUser"
STREAM = "goodgo.user.v1.UserService/StreamUserUpdates"
_USER = "/users/{user_id}"
_QUERY = "query GetUser($id: ID!) { user(id: $id) { id email name } }"
_WITH_MANAGER = "query GetManager($id: ID!) { user(id: $id) { name manager { name } } }"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One call and its expected outcome.

    Attributes:
        title: for people.
        protocol: `REST`, `gRPC` or `GraphQL`.
        make: builds the call; a call that is wrong in itself raises here.
        outcome: the exact class of the error, or None for a reply.
        status: of reply or error; None where the service does not answer.
        deadline: seconds for the call.
        idempotency_key: of the call.
        data: what a reply's data must satisfy.
        error: what an error must satisfy.
    """

    title: str
    protocol: str
    make: Callable[[], Call]
    outcome: type[ServiceError] | None = None
    status: int | str | None = None
    deadline: float = 10.0
    idempotency_key: str | None = None
    data: Callable[[Reply], bool] = lambda reply: True
    error: Callable[[ServiceError], bool] = lambda error: True


def _rest(service: str, user_id: str = "123", behaviour: str | None = None, timeout: float | None = None) -> RestCall:
    headers = {} if behaviour is None else {BEHAVIOUR: behaviour}
    return RestCall(service, "GET", _USER, path={"user_id": user_id}, headers=headers, attempt_timeout=timeout)


def _is_partial(error: ServiceError) -> bool:
    return isinstance(error, GraphQLError) and bool(error.data) and error.data["user"]["name"] == "Ada Lovelace"


def _is_stream(reply: Reply) -> bool:
    return [update["sequence"] for update in reply.data] == ["1", "2", "3", "4", "5"]


CASES: tuple[Case, ...] = (
    # What goes well.
    Case(
        title="get a user",
        protocol="REST",
        make=lambda: _rest("user-service"),
        status=200,
        data=lambda reply: reply.data["name"] == "Ada Lovelace",
    ),
    Case(
        title="create a user, with an idempotency key",
        protocol="REST",
        make=lambda: RestCall("user-service", "POST", "/users", json={"name": "Edsger", "email": "e@example.com"}),
        status=201,
        idempotency_key="demo-edsger",
        data=lambda reply: reply.data["name"] == "Edsger",
    ),
    Case(
        title="a service that takes 300 ms",
        protocol="REST",
        make=lambda: _rest("user-service", behaviour="slow=300"),
        status=200,
    ),
    Case(
        title="get a user",
        protocol="gRPC",
        make=lambda: GrpcCall("user-service", GET_USER, {"user_id": "123"}),
        status="OK",
        data=lambda reply: reply.data["user"]["name"] == "Ada Lovelace",
    ),
    Case(
        title="a stream of five updates",
        protocol="gRPC",
        make=lambda: GrpcCall("user-service", STREAM, {"user_id": "123", "count": 5}),
        status="OK",
        data=_is_stream,
    ),
    Case(
        title="get three fields of a user",
        protocol="GraphQL",
        make=lambda: GraphQLCall("user-service", _QUERY, {"id": "124"}),
        status=200,
        data=lambda reply: reply.data["user"]["name"] == "Grace Hopper",
    ),
    Case(
        title="it answers 503 twice, and then well",
        protocol="REST",
        make=lambda: _rest("user-service", behaviour="unavailable=0;times=2"),
        status=200,
        data=lambda reply: reply.attempts == 3,
    ),
    Case(
        title="it wants a second's rest; parked meanwhile",
        protocol="REST",
        make=lambda: _rest("user-service", behaviour="unavailable=1;times=1"),
        status=200,
        data=lambda reply: reply.attempts == 2,
    ),
    # What the service refuses.
    Case(
        title="a user that does not exist",
        protocol="REST",
        make=lambda: _rest("user-service", "404"),
        outcome=ServiceRejectedError,
        status=404,
    ),
    Case(
        title="a user that does not exist",
        protocol="gRPC",
        make=lambda: GrpcCall("user-service", GET_USER, {"user_id": "404"}),
        outcome=ServiceRejectedError,
        status="NOT_FOUND",
    ),
    Case(
        title="an error beside partial data",
        protocol="GraphQL",
        make=lambda: GraphQLCall("user-service", _WITH_MANAGER, {"id": "123"}),
        outcome=GraphQLError,
        status=200,
        error=_is_partial,
    ),
    Case(
        title="a wrong service key",
        protocol="REST",
        make=lambda: _rest("wrong-key"),
        outcome=ServiceAuthError,
        status=403,
    ),
    # What fails.
    Case(
        title="it answers 500",
        protocol="REST",
        make=lambda: _rest("partner", behaviour="fail"),
        outcome=ServiceFaultError,
        status=500,
    ),
    Case(
        title="it answers 503 to each of three attempts",
        protocol="REST",
        make=lambda: _rest("partner", behaviour="unavailable=0"),
        outcome=ServiceUnavailableError,
        status=503,
        error=lambda error: error.attempts == 3,
    ),
    Case(
        title="it answers 429, and the deadline is near",
        protocol="REST",
        make=lambda: _rest("busy", behaviour="rate-limit=30"),
        outcome=RateLimitedError,
        status=429,
        deadline=2.5,
        error=lambda error: error.attempts == 1 and error.retry_after_s == 30,
    ),
    Case(
        title="it fails three times, and its breaker opens",
        protocol="REST",
        make=lambda: _rest("failing", behaviour="unavailable=0"),
        outcome=CircuitOpenError,
        error=lambda error: error.attempts == 3,
    ),
    Case(
        title="it is not available",
        protocol="gRPC",
        make=lambda: GrpcCall("partner", GET_USER, {"user_id": "123"}, metadata={BEHAVIOUR: "unavailable=0"}),
        outcome=ServiceUnavailableError,
        status="UNAVAILABLE",
    ),
    Case(
        title="it never answers; 0.4 s for an attempt",
        protocol="REST",
        make=lambda: _rest("partner", behaviour="hang", timeout=0.4),
        outcome=ServiceTimeoutError,
    ),
    Case(
        title="it never answers; 1 s for the call",
        protocol="REST",
        make=lambda: _rest("partner", behaviour="hang"),
        outcome=DeadlineExceededError,
        deadline=1.0,
    ),
    Case(
        title="it never answers a POST, which may not be repeated",
        protocol="REST",
        make=lambda: RestCall(
            "partner",
            "POST",
            "/users",
            json={"name": "Edsger", "email": "e@example.com"},
            headers={BEHAVIOUR: "hang"},
            attempt_timeout=0.4,
        ),
        outcome=OutcomeUnknownError,
        error=lambda error: error.attempts == 1 and error.delivery == "maybe_sent",
    ),
    Case(
        title="its port is closed",
        protocol="REST",
        make=lambda: _rest("closed"),
        outcome=ServiceUnavailableError,
        error=lambda error: error.delivery == "not_sent",
    ),
    Case(
        title="a call that its caller may not make",
        protocol="REST",
        make=lambda: RestCall("closed", "DELETE", _USER, path={"user_id": "123"}),
        outcome=CallRejectedError,
        error=lambda error: error.details["reason"] == "forbidden" and error.delivery == "not_sent",
    ),
    # What is refused before it is enqueued.
    Case(
        title="a service that the catalogue does not have",
        protocol="REST",
        make=lambda: _rest("user-servise"),
        outcome=UnknownServiceError,
    ),
    Case(
        title="a route with '..' in it",
        protocol="REST",
        make=lambda: RestCall("user-service", "GET", "/users/../stats"),
        outcome=InvalidCallError,
    ),
    Case(
        title="a header with CR and LF in it",
        protocol="REST",
        make=lambda: RestCall("user-service", "GET", "/users", headers={"x-note": "hello\r\nx-service-auth: stolen"}),
        outcome=InvalidCallError,
    ),
)
