"""The errors of a call: one tree, each saying whether the service may have acted.

    ServiceError                      anything that went wrong with a call
    ├── ServiceUnavailableError       refused, no address, reset, 502/503/504, gRPC UNAVAILABLE
    │   ├── CircuitOpenError          the breaker is open and the deadline comes before its next probe
    │   └── RateLimitedError          429 / RESOURCE_EXHAUSTED, or the gateway's own limit, until the deadline
    ├── ServiceTimeoutError           a timeout; `phase` says which
    │   └── DeadlineExceededError     the call's own deadline, also when it passed in the queue
    ├── ServiceRejectedError          the service answered no: other 4xx, INVALID_ARGUMENT, NOT_FOUND, …
    │   ├── ServiceAuthError          401/403, UNAUTHENTICATED, PERMISSION_DENIED
    │   └── GraphQLError              GraphQL `errors`; keeps them and the partial `data`
    ├── ServiceFaultError             other 5xx, gRPC INTERNAL, UNKNOWN, DATA_LOSS
    ├── InvalidReplyError             not what the protocol or content type says, or larger than the limit
    ├── OutcomeUnknownError           it may have been executed and may not be repeated
    ├── CallRejectedError             the gateway itself refused
    ├── CallCancelledError            `PendingCall.cancel()` ended it
    ├── GatewayUnavailableError       the gateway's own broker or result store does not answer
    │   └── QueueFullError            too many calls of the service wait; raised at `submit`
    ├── GatewayFaultError             a defect in the gateway or in an interceptor
    ├── InvalidCallError              the call itself is wrong; raised at `submit`
    └── UnknownServiceError           no such service in the catalogue; raised at `submit`

Every error is rebuilt from its `args`, `(message, fields)`, which are plain JSON. That is what pickle, Celery's JSON
result backend and a copy over any other wire keep, so an error arrives as what it was raised as.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Self

from gateway.kombu_tag import has_kombu_tag

__all__ = [
    "CallCancelledError",
    "CallRejectedError",
    "CircuitOpenError",
    "DeadlineExceededError",
    "Delivery",
    "GatewayFaultError",
    "GatewayUnavailableError",
    "GraphQLError",
    "InvalidCallError",
    "InvalidReplyError",
    "OutcomeUnknownError",
    "QueueFullError",
    "RateLimitedError",
    "ServiceAuthError",
    "ServiceError",
    "ServiceFaultError",
    "ServiceRejectedError",
    "ServiceTimeoutError",
    "ServiceUnavailableError",
    "UnknownServiceError",
]


#: The only key of an error's fields when they are JSON text.
_AS_JSON = "fields_as_json"


class Delivery(StrEnum):
    """Whether the service may have acted on a call that failed."""

    NOT_SENT = "not_sent"
    """No byte of the request reached the service: repeating it is always safe."""

    MAYBE_SENT = "maybe_sent"
    """The request, or a part of it, left the gateway and no answer came back."""

    ANSWERED = "answered"
    """The service answered."""


class ServiceError(Exception):
    """What a call ended with when it did not end with a reply.

    Attributes:
        message: one line for people; the error's `str`.
        service, operation: what was called, such as `"user-service"` and `"GET /users/{user_id}"`.
        status: the HTTP status (int) or the gRPC status code's name (str); None where the service did not answer.
        details: what the service said about it: decoded JSON, text, or gRPC error details; plain JSON.
        delivery: whether the service may have acted, see `Delivery`.
        attempts: how many requests were started.
        retry_after_s: seconds after which the service wants to be asked again, if it said so.
        correlation_id, request_id: as sent; the request id is that of the last attempt.
        call_id: the id of the call, `PendingCall.id`.
    """

    service: str | None
    operation: str | None
    status: int | str | None
    details: Any
    delivery: Delivery
    attempts: int
    retry_after_s: float | None
    correlation_id: str | None
    request_id: str | None
    call_id: str | None

    #: Every field beside the message, with its default. A subclass adds its own.
    FIELDS: ClassVar[Mapping[str, Any]] = {
        "service": None,
        "operation": None,
        "status": None,
        "details": None,
        "delivery": Delivery.NOT_SENT,
        "attempts": 0,
        "retry_after_s": None,
        "correlation_id": None,
        "request_id": None,
        "call_id": None,
    }

    def __init__(self, message: str = "", fields: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        given = {**(fields or {}), **more}
        if _AS_JSON in given:
            given |= json.loads(given.pop(_AS_JSON))
        unknown = [name for name in more if name not in self.FIELDS]
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {unknown[0]!r}; it has {', '.join(self.FIELDS)}")
        self.message = str(message)
        kept: dict[str, Any] = {}
        for name, default in self.FIELDS.items():
            # A field that a newer version wrote is left out, so that an old consumer still gets the error.
            value = given.get(name, default)
            if name == "delivery":
                value = Delivery(value)
            setattr(self, name, value)
            if value != default:
                kept[name] = value.value if isinstance(value, Delivery) else value
        # What a service said may look like a type of kombu's JSON: then it travels as text.
        super().__init__(self.message, {_AS_JSON: json.dumps(kept)} if has_kombu_tag(kept) else kept)

    @property
    def fields(self) -> dict[str, Any]:
        """All fields beside the message, as plain JSON."""
        return {name: getattr(self, name) for name in self.FIELDS} | {"delivery": self.delivery.value}

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        """One line that an operator can read; it is what Flower and Celery's log show."""
        said = [f"delivery={self.delivery.value}", f"attempts={self.attempts}"]
        if self.status is not None:
            said.insert(0, f"status={self.status}")
        if self.correlation_id is not None:
            said.append(f"correlation_id={self.correlation_id}")
        return f"{type(self).__name__}({self.message!r}, {', '.join(said)})"


class ServiceUnavailableError(ServiceError):
    """The service could not be reached, or said that it is not available."""


class CircuitOpenError(ServiceUnavailableError):
    """The service's breaker is open and the deadline comes before its next probe."""


class RateLimitedError(ServiceUnavailableError):
    """The service, or the gateway's own limit for it, allows no more calls before the deadline."""


class ServiceTimeoutError(ServiceError):
    """A timeout passed.

    Attributes:
        phase: which one: `pool`, `connect`, `read`, `attempt` or `total`.
    """

    phase: str
    FIELDS: ClassVar[Mapping[str, Any]] = {**ServiceError.FIELDS, "phase": "attempt"}


class DeadlineExceededError(ServiceTimeoutError):
    """The call's own deadline passed, in the queue or on the wire."""

    FIELDS: ClassVar[Mapping[str, Any]] = {**ServiceTimeoutError.FIELDS, "phase": "deadline"}


class ServiceRejectedError(ServiceError):
    """The service understood the call and answered no."""


class ServiceAuthError(ServiceRejectedError):
    """The service did not accept who asked."""


class GraphQLError(ServiceRejectedError):
    """The reply of a GraphQL service has `errors`.

    Attributes:
        errors: the list as the service sent it (GraphQL specification, section 7.1.2).
        data: the partial `data`, or None.
    """

    errors: list[Any]
    data: Any
    FIELDS: ClassVar[Mapping[str, Any]] = {**ServiceRejectedError.FIELDS, "errors": (), "data": None}

    def __init__(self, message: str = "", fields: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        super().__init__(message, fields, **more)
        self.errors = list(self.errors)


class ServiceFaultError(ServiceError):
    """The service failed while it handled the call."""


class InvalidReplyError(ServiceError):
    """The reply is not what the protocol or its content type says, or is larger than the limit."""


class OutcomeUnknownError(ServiceError):
    """The call may have been executed, nobody can tell, and it may not be repeated."""

    FIELDS: ClassVar[Mapping[str, Any]] = {**ServiceError.FIELDS, "delivery": Delivery.MAYBE_SENT}


class CallRejectedError(ServiceError):
    """The gateway itself refused the call."""


class CallCancelledError(ServiceError):
    """The call was cancelled before it had an outcome; `delivery` says whether it may have been sent."""


class GatewayUnavailableError(ServiceError):
    """The gateway's own broker or result store does not answer."""


class QueueFullError(GatewayUnavailableError):
    """Too many calls of the service wait already; nothing was enqueued.

    Attributes:
        waiting: how many, in its queue and parked.
        bound: how many may, `limit.queue` of the catalogue.
    """

    waiting: int
    bound: int
    FIELDS: ClassVar[Mapping[str, Any]] = {**ServiceError.FIELDS, "waiting": 0, "bound": 0}


class GatewayFaultError(ServiceError):
    """A defect in the gateway, or in an interceptor that a service's owner added."""


class InvalidCallError(ServiceError, ValueError):
    """The call itself is wrong; nothing was enqueued.

    Attributes:
        field: the field that is wrong, such as `path.user_id`.
        cure: what to do about it.
    """

    field: str | None
    cure: str | None
    FIELDS: ClassVar[Mapping[str, Any]] = {**ServiceError.FIELDS, "field": None, "cure": None}

    @classmethod
    def because(cls, field: str, why: str, cure: str) -> Self:
        """The error of one field, with all three parts in its message."""
        return cls(f"{field}: {why}; {cure}", field=field, cure=cure)


class UnknownServiceError(ServiceError, LookupError):
    """The catalogue has no such service, or the service does not speak this protocol.

    Attributes:
        field: the field that is wrong.
        cure: what to do about it.
    """

    field: str | None
    cure: str | None
    FIELDS: ClassVar[Mapping[str, Any]] = {**ServiceError.FIELDS, "field": "service", "cure": None}
