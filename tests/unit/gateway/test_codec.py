"""The message contract: what is written can be read, and whatever else is on the broker is refused with a reason."""

import json
from typing import Any

import jsonschema
import pytest

from gateway import Call, GraphQLCall, GrpcCall, RestCall, previous
from gateway.codec import decode, encode, json_schema
from gateway.envelope import Envelope
from gateway.errors import InvalidCallError

CALLS: list[Call] = [
    RestCall(
        "user-service", "GET", "/users/{user_id}", path={"user_id": "1"}, query={"a": ["b", 1]}, headers={"x-a": "1"}
    ),
    RestCall("user-service", "POST", "/users", json=None),
    RestCall("user-service", "POST", "/users", json={"__type__": "datetime", "__value__": "2026"}),
    RestCall("user-service", "POST", "/users", form={"a": "b"}),
    RestCall(
        "user-service", "PUT", "/blobs/1", content=b"\x00\xff", content_type="application/pdf", attempt_timeout=2.5
    ),
    GrpcCall("user-service", "goodgo.user.v1.UserService/GetUser", {"user_id": "1"}, metadata={"x-a": "1"}),
    GraphQLCall("user-service", "query A { a } query B { b }", {"x": [1, None]}, operation_name="B"),
]


@pytest.mark.parametrize("call", CALLS)
def test_what_is_written_can_be_read(call: Call) -> None:
    envelope = Envelope(
        version=1, call=call, correlation_id="order-42", request_id="r", deadline_at=1e9, sent_at=1e9, caller="orders"
    )
    wire = json.loads(json.dumps(encode(envelope)))
    assert decode([], wire) == envelope
    jsonschema.validate(wire, json_schema())


def test_kombus_json_changes_nothing_in_any_message() -> None:
    from kombu.utils.json import dumps, loads

    for call in CALLS:
        envelope = Envelope(version=1, call=call)
        assert decode([], loads(dumps(encode(envelope)))) == envelope


def test_the_smallest_message_is_enough() -> None:
    wire = {"version": 1, "call": {"protocol": "rest", "service": "user-service", "method": "GET", "route": "/users"}}
    jsonschema.validate(wire, json_schema())
    envelope = decode([], wire)
    assert envelope.call == RestCall("user-service", "GET", "/users")
    assert envelope.correlation_id is None


GOOD = {"protocol": "rest", "service": "u", "method": "GET", "route": "/"}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "version"),
    ({"version": 2, "call": GOOD}, "version"),
    ({"version": True, "call": GOOD}, "version"),
    ({"version": "1", "call": GOOD}, "version"),
    ({"version": 1}, "call"),
    ({"version": 1, "call": None}, "call"),
    ({"version": 1, "call": []}, "call"),
    ({"version": 1, "call": {}}, "call"),
    ({"version": 1, "call": {**GOOD, "protocol": "soap"}}, "call.protocol"),
    ({"version": 1, "call": {**GOOD, "url": "http://evil.example"}}, "call"),
    ({"version": 1, "call": {**GOOD, "route": "/../x"}}, "route"),
    ({"version": 1, "call": {**GOOD, "headers": {"a": "b\r\nc: d"}}}, "headers.a"),
    ({"version": 1, "call": {**GOOD, "content": "not base64!"}}, "call.content"),
    ({"version": 1, "call": GOOD, "extra": 1}, "message"),
    ({"version": 1, "call": GOOD, "deadline_s": 0}, "deadline_s"),
    ({"version": 1, "call": GOOD, "deadline_s": 1e9}, "deadline_s"),
    ({"version": 1, "call": GOOD, "deadline_at": -1}, "deadline_at"),
    ({"version": 1, "call": GOOD, "deadline_at": 1e9, "deadline_s": 1}, "deadline_s"),
    ({"version": 1, "call": GOOD, "correlation_id": "a\r\nb"}, "correlation_id"),
    ({"version": 1, "call": GOOD, "correlation_id": ""}, "correlation_id"),
    ({"version": 1, "call": GOOD, "correlation_id": " a"}, "correlation_id"),
    ({"version": 1, "call": GOOD, "deadline_s": 10**400}, "deadline_s"),
    ({"version": 1, "call": GOOD, "correlation_id": "x" * 201}, "correlation_id"),
    ({"version": 1, "call": GOOD, "uses_previous": True}, "call"),
    ({"version": 1, "call_json": "{"}, "call_json"),
    ({"version": 1, "call_json": 3}, "call_json"),
    ({"version": 1, "call_json": "NaN"}, "call_json"),
    ({"version": 1, "call": GOOD, "call_json": "{}"}, "call_json"),
]


@pytest.mark.parametrize(("wire", "field"), REFUSED)
def test_a_wrong_message_names_its_field(wire: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidCallError) as caught:
        decode([], wire)
    assert caught.value.field == field
    assert caught.value.cure


def test_the_result_of_the_step_before_fills_the_references() -> None:
    call = RestCall(
        "user-service",
        "POST",
        "/users/{user_id}",
        path={"user_id": previous("data.user.id")},
        query={"tag": [previous("data.tags.1")]},
        json={"whole": previous(""), "status": previous("status")},
    )
    wire = encode(Envelope(version=1, call=call, uses_previous=True))
    result = {"data": {"user": {"id": 7}, "tags": ["a", "b"]}, "status": 200}
    filled = decode([result], json.loads(json.dumps(wire))).call
    assert isinstance(filled, RestCall)
    assert filled.url_path() == "/users/7"
    assert filled.query_string() == "tag=b"
    assert filled.json == {"whole": result, "status": 200}


def test_a_filled_value_is_checked_like_any_other() -> None:
    call = RestCall("u", "GET", "/users/{user_id}", path={"user_id": previous("data")})
    wire = encode(Envelope(version=1, call=call, uses_previous=True))
    with pytest.raises(InvalidCallError, match="'..' segment"):
        decode([{"data": ".."}], wire)
    with pytest.raises(InvalidCallError, match="nothing at 'data'"):
        decode([{"other": 1}], wire)


def test_a_body_that_looks_like_a_reference_stays_as_it_is() -> None:
    call = RestCall("u", "POST", "/", json={"$previous": "data"})
    assert decode([{"data": 1}], encode(Envelope(version=1, call=call))).call == call


def test_data_of_a_user_never_becomes_a_reference() -> None:
    call = RestCall("u", "POST", "/", json={"id": previous("data"), "comment": {"$previous": "headers"}})
    with pytest.raises(InvalidCallError, match="'\\$previous'"):
        encode(Envelope(version=1, call=call, uses_previous=True))
    kept = decode(
        [{"data": {"$previous": "headers"}, "headers": "secret"}],
        {
            "version": 1,
            "uses_previous": True,
            "call": {
                "protocol": "rest",
                "service": "u",
                "method": "POST",
                "route": "/",
                "json": [{"$previous": "data"}],
            },
        },
    ).call
    assert isinstance(kept, RestCall)
    assert kept.json == [{"$previous": "headers"}]


def test_a_reference_in_a_message_that_does_not_say_so_is_refused() -> None:
    call = {
        "protocol": "rest",
        "service": "u",
        "method": "GET",
        "route": "/{id}",
        "path": {"id": {"$previous": "data"}},
    }
    with pytest.raises(InvalidCallError, match="uses_previous"):
        decode([{"data": ".."}], {"version": 1, "call": call})
