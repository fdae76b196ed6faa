"""An error arrives as what it was raised as, over every wire."""

import copy
import inspect
import json
import pickle

import pytest

from gateway import errors
from gateway.errors import Delivery, GraphQLError, InvalidCallError, ServiceError, ServiceTimeoutError
from gateway.outcome import Failure

CLASSES = [
    getattr(errors, name) for name in errors.__all__ if inspect.isclass(getattr(errors, name)) and name != "Delivery"
]

FIELDS = {
    "service": "user-service",
    "operation": "GET /users/{user_id}",
    "status": 404,
    "details": {"error": {"code": "NO_SUCH_USER"}},
    "delivery": "answered",
    "attempts": 2,
    "retry_after_s": 1.5,
    "correlation_id": "order-42",
    "request_id": "r-2",
    "call_id": "c",
}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_pickle_copy_and_json(kind: type[ServiceError]) -> None:
    error = kind("it failed", FIELDS)
    over_json = kind(*json.loads(json.dumps(error.args)))
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error), over_json):
        assert type(copied) is kind
        assert copied.fields == error.fields
        assert str(copied) == "it failed"
        assert copied.delivery is Delivery.ANSWERED


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_can_be_made_of_a_message_alone(kind: type[ServiceError]) -> None:
    assert kind("it failed").attempts == 0
    assert kind().message == ""


def test_special_fields_survive() -> None:
    error = GraphQLError("no", errors=[{"message": "no"}], data={"user": None})
    copied = pickle.loads(pickle.dumps(error))
    assert copied.errors == [{"message": "no"}]
    assert copied.data == {"user": None}
    assert pickle.loads(pickle.dumps(ServiceTimeoutError("slow", phase="connect"))).phase == "connect"


def test_a_field_of_a_newer_version_is_left_out() -> None:
    assert ServiceError("x", {"attempts": 3, "from_the_future": 1}).attempts == 3


def test_a_misspelt_field_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="no field 'atempts'"):
        ServiceError("x", atempts=1)


def test_the_tree_is_what_the_docstring_draws() -> None:
    drawn = [line.split()[0] for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    names = {
        line.strip("│├└─ ") for line in (part for part in (errors.__doc__ or "").split() if part.endswith("Error"))
    }
    assert drawn
    assert {kind.__name__ for kind in CLASSES} <= names


def test_repr_is_one_line_for_operators() -> None:
    error = ServiceError("user-service GET /users/{user_id}: 404\nline", FIELDS)
    assert repr(error) == (
        "ServiceError('user-service GET /users/{user_id}: 404\\nline', status=404, delivery=answered, attempts=2, "
        "correlation_id=order-42)"
    )


def test_a_failure_becomes_its_error_once_at_the_edge() -> None:
    failure = Failure(
        error=ServiceTimeoutError,
        message="no answer within 3 s",
        delivery=Delivery.MAYBE_SENT,
        extra={"phase": "read"},
    )
    error = failure.to_error(
        service="billing", operation="POST /charges", attempts=1, correlation_id="c", request_id="r", call_id="i"
    )
    assert isinstance(error, ServiceTimeoutError)
    assert str(error) == "billing POST /charges: no answer within 3 s"
    assert (error.phase, error.delivery, error.attempts) == ("read", Delivery.MAYBE_SENT, 1)


def test_invalid_calls_are_value_errors() -> None:
    assert issubclass(InvalidCallError, ValueError)


@pytest.mark.parametrize(
    "details",
    [
        {"__type__": "zzz", "__value__": 1},
        [{"deep": {"__type__": "uuid", "__value__": {"hex": "zz"}}}],
        {"__type__": "datetime", "__value__": "2026-01-01T00:00:00"},
    ],
)
def test_what_a_service_says_cannot_be_taken_for_a_type_of_kombus(details: object) -> None:
    from kombu.utils.json import dumps, loads

    for error in (
        ServiceError("no", details=details, status=404),
        GraphQLError("no", errors=[{"message": "no", "extensions": details}], data={"a": details}),
    ):
        copied = type(error)(*loads(dumps(error.args)))
        assert copied.fields == error.fields
        assert pickle.loads(pickle.dumps(error)).fields == error.fields
