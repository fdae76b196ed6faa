"""A call that was never performed says what it would have been, and that nothing was sent."""

from typing import Any

import pytest

from gateway.call import RestCall
from gateway.envelope import VERSION
from gateway.errors import (
    CallCancelledError,
    DeadlineExceededError,
    Delivery,
    GatewayFaultError,
    ServiceError,
    ServiceFaultError,
    ServiceUnavailableError,
)
from gateway.reply import Reply, Timing
from workers.job import Job
from workers.pool.ending import announce, cancelled_unsent, expired_unsent
from workers.refusal import is_usable_id, printable


def nothing(*_: Any) -> Any:
    return None


def job(kwargs: dict[str, Any]) -> Job:
    body: Any = ([], kwargs, {})
    return Job("i", nothing, ("gateway.call", "i", {}, body), nothing, nothing, nothing, nothing, nothing)


def test_it_has_the_identity_of_the_call() -> None:
    call = {"protocol": "rest", "service": "user-service", "method": "GET", "route": "/users"}
    assert RestCall("user-service", "GET", "/users").operation == "GET /users"
    one = job({"version": VERSION, "call": call, "correlation_id": "order-42"})
    for error, kind in ((cancelled_unsent(one), CallCancelledError), (expired_unsent(one), DeadlineExceededError)):
        assert type(error) is kind
        assert (error.service, error.operation, error.correlation_id) == ("user-service", "GET /users", "order-42")
        assert (error.delivery, error.attempts, error.call_id) == (Delivery.NOT_SENT, 0, "i")


def test_one_that_cannot_be_read_has_its_id_alone() -> None:
    error = cancelled_unsent(job({"call": "SECRET"}))
    assert (error.service, error.call_id) == (None, "i")
    assert "SECRET" not in repr(error)


REPLY = Reply(
    data=None,
    status=200,
    headers={},
    attempts=1,
    timing=Timing(),
    correlation_id="c",
    request_id="r",
    service="s",
    operation="o",
    protocol="rest",
    call_id="i",
)


@pytest.mark.parametrize(
    ("outcome", "delivery"),
    [
        (REPLY, Delivery.MAYBE_SENT),
        (ServiceFaultError("500", delivery=Delivery.ANSWERED), Delivery.ANSWERED),
        (ServiceUnavailableError("cut", delivery=Delivery.MAYBE_SENT), Delivery.MAYBE_SENT),
        (ServiceUnavailableError("refused", delivery=Delivery.NOT_SENT), Delivery.NOT_SENT),
        (RuntimeError("who knows"), Delivery.MAYBE_SENT),
    ],
)
def test_a_broken_tracer_says_of_the_service_what_the_outcome_said(
    outcome: Reply | ServiceError | Exception, delivery: Delivery
) -> None:
    told: list[Any] = []
    one = job({})
    one.outcome, one.broken, one.on_lost = outcome, TypeError("SECRET"), told.append
    announce(one)
    (information,) = told
    error = information.exception.exc
    assert isinstance(error, GatewayFaultError)
    assert (error.delivery, error.call_id) == (delivery, "i")
    assert "SECRET" not in str(error)


@pytest.mark.parametrize("wrong", ["", "x" * 201, "a\nb", "a\x00", "a\x7f", "ä", "\u202e", 7, None])
def test_an_id_is_printable_ascii(wrong: object) -> None:
    assert not is_usable_id(wrong)


def test_ids_that_clients_make_are_usable() -> None:
    assert is_usable_id("6f1a5a0e-6cb3-4d9c-8d0a-0d6b1e6a7b11")
    assert is_usable_id("x" * 200)


def test_a_name_becomes_one_short_line() -> None:
    assert printable("who.knows") == "who.knows"
    assert printable("a\nb\x1b") == "a?b?"
    assert printable("x" * 201) == "x" * 200 + "…"
