"""Whatever lies on the broker: an envelope, or an `InvalidCallError`."""

import json
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads

from gateway import RestCall
from gateway.codec import decode, encode
from gateway.envelope import Envelope
from gateway.errors import InvalidCallError
from gateway.routing import describe, display_name

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=10) | st.sampled_from(["__type__", "__value__", "$previous"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)

FIELDS = tuple(Envelope.__struct_fields__)
CALL_FIELDS = (
    "protocol",
    "service",
    "method",
    "route",
    "path",
    "query",
    "headers",
    "json",
    "form",
    "content",
    "request",
    "variables",
)


def check(args: Any, kwargs: Any) -> None:
    describe(kwargs)
    refused: InvalidCallError | None = None
    try:
        envelope = decode(args, kwargs)
    except InvalidCallError as error:
        refused = error
    if refused is None:
        assert isinstance(envelope, Envelope)
        assert decode([], json.loads(json.dumps(encode(envelope)))) == envelope
    else:
        assert refused.field
        assert refused.cure
        json.dumps(refused.args)


@given(
    st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=10), anything, max_size=8),
    st.lists(anything, max_size=2),
)
def test_any_arguments(kwargs: dict[str, Any], args: list[Any]) -> None:
    check(args, kwargs)


@given(
    st.dictionaries(st.sampled_from(CALL_FIELDS), anything, max_size=8), st.sampled_from(["rest", "grpc", "graphql"])
)
def test_any_call(call: dict[str, Any], protocol: str) -> None:
    check([], {"version": 1, "call": {**call, "protocol": protocol}})


@given(st.sampled_from(CALL_FIELDS), anything, st.sampled_from(["rest", "grpc", "graphql"]))
def test_a_good_message_with_one_field_changed(field: str, value: Any, protocol: str) -> None:
    good: dict[str, dict[str, Any]] = {
        "rest": {"method": "POST", "route": "/users/{user_id}", "path": {"user_id": "1"}, "json": {"a": 1}},
        "grpc": {"method": "a.B/C", "request": {"a": 1}},
        "graphql": {"query": "query Q { a }", "variables": {"a": 1}},
    }
    check([], {"version": 1, "call": {"protocol": protocol, "service": "users", **good[protocol], field: value}})


@given(plain)
def test_every_json_body_arrives_as_it_was_sent(body: Any) -> None:
    envelope = Envelope(version=1, call=RestCall("users", "POST", "/", json=body))
    assert decode([], loads(dumps(encode(envelope)))) == envelope


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_value_of_a_path_parameter_leaves_its_segment(first: str, second: str) -> None:
    try:
        call = RestCall("users", "GET", "/a/{first}/b/{second}/c", path={"first": first, "second": second})
    except InvalidCallError:
        return
    path = call.url_path()
    assert urlsplit(f"http://users{path}").path == path
    segments = path.split("/")
    assert len(segments) == 6
    assert [unquote(segments[2]), unquote(segments[4])] == [first, second]
    assert not {".", ".."} & {unquote(unquote(segment)) for segment in segments}


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=4))
def test_no_header_that_is_accepted_can_break_a_line(headers: dict[str, str]) -> None:
    try:
        call = RestCall("users", "GET", "/", headers=headers)
    except InvalidCallError:
        return
    for text in (*call.headers, *call.headers.values()):
        assert text.isascii()
        assert not set(text) & set("\r\n\0")


@given(anything)
def test_a_name_for_operators_is_one_short_line(kwargs: Any) -> None:
    for text in describe(kwargs):
        assert len(text) < 1000
        assert text.isprintable()


def test_producer_and_worker_give_a_call_the_same_name() -> None:
    call = RestCall("users", "GET", "/users/{user_id}", path={"user_id": "1"})
    assert describe(encode(Envelope(version=1, call=call)))[0] == display_name(call)
    assert msgspec.structs.asdict(call)["route"] in display_name(call)
