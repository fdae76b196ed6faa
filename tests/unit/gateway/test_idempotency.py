"""What an idempotency key stands for, and what becomes of a second submit with it."""

import hashlib
from typing import Any

import pytest

from gateway import CallState, GraphQLCall, GrpcCall, RestCall
from gateway.call import Call
from gateway.errors import Delivery, InvalidCallError
from gateway.idempotency import Claim, Held, Verdict, decide, fingerprint

NOW = 1000.0
CLAIM = Claim("gateway:idempotency:orders:x", "same")


def held(**fields: Any) -> Held:
    kept: dict[str, Any] = {
        "call_id": "c-1",
        "fingerprint": "same",
        "state": CallState.PENDING,
        "deadline_at": NOW + 10,
        "delivery": None,
        "maybe_sent": False,
    }
    return Held(**{**kept, **fields})


def verdict(**fields: Any) -> Verdict:
    return decide(held(**fields), CLAIM, now=NOW, margin_s=5.0)


def rest(**fields: Any) -> RestCall:
    return RestCall("users", "POST", "/users/{a}/{b}", path={"a": 1, "b": 2}, **fields)


def test_one_key_for_each_caller_and_no_key_in_clear() -> None:
    hashed = hashlib.sha256(b"order-42").hexdigest()
    assert Claim.of("orders", "order-42", rest()) == (f"gateway:idempotency:orders:{hashed}", fingerprint(rest()))
    assert Claim.of(None, "order-42", rest()).key == f"gateway:idempotency:-:{hashed}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (rest(), RestCall("users", "post", "/users/{a}/{b}", path={"b": 2, "a": 1})),
        (rest(query={"x": 1, "y": ["2", "3"]}), rest(query={"y": ("2", "3"), "x": 1})),
        (rest(headers={"x-a": "1", "x-b": "2"}), rest(headers={"X-B": "2", "X-A": "1"})),
        (rest(json={"a": 1, "b": {"c": 2, "d": 3}}), rest(json={"b": {"d": 3, "c": 2}, "a": 1})),
        (rest(form={"a": 1, "b": 2}), rest(form={"b": 2, "a": 1})),
        (rest(), rest(attempt_timeout=2.0)),
        (GrpcCall("u", "a.B/C", {"x": 1, "y": 2}), GrpcCall("u", "a.B/C", {"y": 2, "x": 1})),
        (GraphQLCall("u", "{ a }", {"x": 1, "y": 2}), GraphQLCall("u", "{ a }", {"y": 2, "x": 1})),
        (rest(json=10**400), rest(json=10**400)),
    ],
)
def test_the_same_call(one: Call, other: Call) -> None:
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (rest(), RestCall("users", "PUT", "/users/{a}/{b}", path={"a": 1, "b": 2})),
        (rest(), RestCall("others", "POST", "/users/{a}/{b}", path={"a": 1, "b": 2})),
        (rest(), RestCall("users", "POST", "/users/{a}/{b}", path={"a": 1, "b": 3})),
        (rest(query={"x": ["1", "2"]}), rest(query={"x": ["2", "1"]})),
        (rest(headers={"x-a": "1"}), rest(headers={"x-a": "2"})),
        (rest(json={"a": [1, 2]}), rest(json={"a": [2, 1]})),
        (rest(json={"a": 1}), rest(json={"a": 1.0})),
        (rest(json={"a": 1}), rest(json={"a": "1"})),
        (rest(json=None), rest()),
        (rest(json="YQ=="), rest(content=b"a")),
        (rest(content=b"a"), rest(content=b"b")),
        (rest(content=b"a"), rest(content=b"a", content_type="text/plain")),
        (GrpcCall("u", "a.B/C", {}), GrpcCall("u", "a.B/D", {})),
        (GrpcCall("u", "a.B/C", {}), GrpcCall("u", "a.B/C", {}, metadata={"x": "1"})),
        (GraphQLCall("u", "{ a }"), GraphQLCall("u", "{ b }")),
    ],
)
def test_another_call(one: Call, other: Call) -> None:
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # Nobody may have enqueued it.
        ({}, Verdict.ENQUEUE),
        ({"deadline_at": NOW + 0.001}, Verdict.ENQUEUE),
        # It is on its way, or has an answer.
        ({"state": CallState.RUNNING}, Verdict.SHARE),
        ({"state": CallState.UNKNOWN}, Verdict.SHARE),
        ({"state": CallState.DONE, "delivery": Delivery.ANSWERED}, Verdict.SHARE),
        ({"state": CallState.DONE, "delivery": Delivery.ANSWERED, "deadline_at": NOW - 1e4}, Verdict.SHARE),
        ({"state": CallState.DONE, "delivery": Delivery.ANSWERED, "deadline_at": None}, Verdict.SHARE),
        # Its deadline has passed, and its outcome may still come.
        ({"deadline_at": NOW}, Verdict.SHARE),
        ({"state": CallState.RUNNING, "deadline_at": NOW - 5.0}, Verdict.SHARE),
        # It has no answer and gets none.
        ({"deadline_at": NOW - 5.001}, Verdict.REPLACE),
        ({"state": CallState.RUNNING, "deadline_at": NOW - 5.001}, Verdict.REPLACE),
        ({"state": CallState.UNKNOWN, "deadline_at": None}, Verdict.REPLACE),
        ({"state": CallState.CANCELLED}, Verdict.REPLACE),
        ({"state": CallState.CANCELLED, "delivery": Delivery.MAYBE_SENT}, Verdict.REPLACE),
        ({"state": CallState.DONE, "delivery": Delivery.NOT_SENT}, Verdict.REPLACE),
        ({"state": CallState.DONE, "delivery": Delivery.MAYBE_SENT}, Verdict.REPLACE),
    ],
)
def test_the_same_call_again(fields: dict[str, Any], expected: Verdict) -> None:
    assert verdict(**fields) is expected


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"state": CallState.RUNNING},
        {"state": CallState.CANCELLED},
        {"state": CallState.DONE, "delivery": Delivery.ANSWERED},
        {"state": CallState.DONE, "delivery": Delivery.MAYBE_SENT},
        {"state": CallState.DONE, "delivery": Delivery.NOT_SENT, "maybe_sent": True},
        {"deadline_at": NOW - 100},
    ],
)
def test_another_call_with_the_same_key(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidCallError, match=r"used for another call \(c-1\)") as caught:
        verdict(fingerprint="other", **fields)
    assert caught.value.field == "idempotency_key"
    assert "key of its own" in str(caught.value.cure)


def test_a_key_that_no_service_has_seen_is_free_for_any_call() -> None:
    assert verdict(fingerprint="other", state=CallState.DONE, delivery=Delivery.NOT_SENT) is Verdict.REPLACE
