"""A service owner's functions change an attempt and its result, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from gateway import GrpcCall, RestCall
from gateway.errors import CallRejectedError, Delivery, GatewayFaultError
from gateway.outcome import Failure
from gateway.policy import Timeouts
from gateway.service import Interceptors
from workers.attempt import Answer, Attempt, Wire
from workers.interceptor import Interception, InterceptorError

HERE = __name__
ANSWER = Answer(status=200, headers={}, data={"a": 1})


def make_attempt(**fields: Any) -> Attempt:
    return Attempt(
        **{
            "call": RestCall("users", "POST", "/"),
            "number": 2,
            "headers": {"x-request-id": "r"},
            "timeouts": Timeouts(),
            "budget_s": 1.5,
            "max_reply_bytes": 10,
            "max_messages": 1,
            "wire": Wire(),
            **fields,
        }
    )


def interception(before: list[str] | None = None, after: list[str] | None = None) -> Interception:
    named = Interceptors(
        before=[f"{HERE}:{name}" for name in before or []], after=[f"{HERE}:{name}" for name in after or []]
    )
    return Interception("users", named)


def add_header(attempt: Attempt) -> Attempt:
    return replace(attempt, headers={**attempt.headers, "x-tenant": "acme"})


async def leave(attempt: Attempt) -> None:
    return None


def build_afresh(attempt: Attempt) -> Attempt:
    return make_attempt(number=99, budget_s=99.0)


def change_service(attempt: Attempt) -> Attempt:
    return replace(attempt, call=RestCall("billing", "POST", "/"))


def change_protocol(attempt: Attempt) -> Attempt:
    return replace(attempt, call=GrpcCall("users", "a.B/C"))


def reject(attempt: Attempt) -> None:
    raise CallRejectedError("not today", details={"why": "closed"})


def fall_over(attempt: Attempt, result: object = None) -> None:
    raise KeyError("payload-canary")


def return_nonsense(attempt: Attempt, result: object = None) -> Any:
    return "nonsense"


async def unwrap(attempt: Attempt, result: Answer | Failure) -> Answer | None:
    return replace(result, data=result.data["a"]) if isinstance(result, Answer) else None


def not_json(attempt: Attempt, result: Answer | Failure) -> Answer:
    return replace(ANSWER, data={"a": {1}})


def hide_failure(attempt: Attempt, result: Answer | Failure) -> Answer:
    return ANSWER


not_a_function = 3


async def test_before_is_run_in_order() -> None:
    attempt = await interception(["leave", "add_header"]).before(make_attempt())
    assert isinstance(attempt, Attempt)
    assert attempt.headers == {"x-request-id": "r", "x-tenant": "acme"}


async def test_the_marks_are_where_the_timeouts_look_for_them() -> None:
    given = make_attempt()
    attempt = await interception(["build_afresh"]).before(given)
    assert isinstance(attempt, Attempt)
    assert attempt.wire is given.wire
    assert (attempt.number, attempt.budget_s) == (2, 1.5)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("reject", CallRejectedError, "not today"),
        ("fall_over", GatewayFaultError, "fall_over raised KeyError"),
        ("return_nonsense", GatewayFaultError, "returned str"),
        ("change_service", GatewayFaultError, "changed the service"),
        ("change_protocol", GatewayFaultError, "changed the service or the protocol"),
    ],
)
async def test_what_before_does_wrong_ends_this_call_unsent(name: str, error: type[Exception], said: str) -> None:
    failure = await interception([name, "add_header"]).before(make_attempt())
    assert isinstance(failure, Failure)
    assert (failure.error, failure.delivery) == (error, Delivery.NOT_SENT)
    assert said in failure.message
    assert "canary" not in failure.message


async def test_after_changes_the_result() -> None:
    assert await interception(after=["unwrap"]).after(make_attempt(), ANSWER) == replace(ANSWER, data=1)
    failure = Failure(error=GatewayFaultError, message="no", delivery=Delivery.MAYBE_SENT)
    assert await interception(after=["unwrap"]).after(make_attempt(), failure) is failure
    assert await interception(after=["hide_failure"]).after(make_attempt(), failure) is ANSWER


@pytest.mark.parametrize(
    ("name", "said"),
    [("fall_over", "raised KeyError"), ("return_nonsense", "returned str"), ("not_json", "not JSON: data.a")],
)
async def test_what_after_does_wrong_keeps_the_delivery(name: str, said: str) -> None:
    failure = await interception(after=[name]).after(make_attempt(), ANSWER)
    assert isinstance(failure, Failure)
    assert (failure.error, failure.delivery) == (GatewayFaultError, Delivery.ANSWERED)
    assert said in failure.message
    assert "canary" not in failure.message


@pytest.mark.parametrize("path", [f"{HERE}:not_there", f"{HERE}:not_a_function", "no.such.module:f"])
def test_what_cannot_be_loaded_is_named(path: str) -> None:
    with pytest.raises(InterceptorError, match=path.split(":")[1]):
        Interception("users", Interceptors(before=[path]))
