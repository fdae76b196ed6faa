"""What is as large as it may be is taken; what is larger is in the hostile suite."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import encode as to_json

from gateway import GraphQLCall, GrpcCall, RestCall
from gateway.call_size import MAX_CALL_BYTES, is_larger
from gateway.codec import decode, encode
from gateway.envelope import Envelope
from gateway.errors import InvalidCallError
from gateway.reference import previous

_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(max_codepoint=126)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(max_codepoint=126)), inner),
)


@given(_JSON)
def test_a_size_is_about_that_of_the_text(value: Any) -> None:
    size = len(to_json(value))
    assert not is_larger(value, 4 * size + 8)
    assert is_larger(value, size // 8 - 1)


def test_what_is_shared_counts_each_time_and_ends_early() -> None:
    value: Any = ["x" * 1000]
    for _ in range(60):
        value = [value, value]
    assert is_larger(value, MAX_CALL_BYTES)


def test_a_call_that_is_as_large_as_it_may_be() -> None:
    call = RestCall("users", "POST", "/x", content=b"x" * (MAX_CALL_BYTES * 3 // 4 - 1000))
    assert decode((), encode(Envelope(version=1, call=call))).call == call
    with pytest.raises(InvalidCallError, match="larger"):
        encode(Envelope(version=1, call=RestCall("users", "POST", "/x", content=b"x" * (MAX_CALL_BYTES * 3 // 4))))


def test_headers_and_metadata_that_are_as_many_and_as_large_as_they_may_be() -> None:
    RestCall("users", "GET", "/", headers={f"x-{n}": "v" for n in range(64)})
    RestCall("users", "GET", "/", headers={"x-a": "v" * 8192, "x-b": "v" * 8186})
    GrpcCall("users", "a.B/C", metadata={"x-a_b.c": "1", "x-bin": "AAE"})
    GraphQLCall("users", "{ a }", headers={"user-agent": "me", "accept-language": "de"})


def test_paths_and_queries_that_are_as_long_as_they_may_be() -> None:
    RestCall("users", "GET", "/{a}", path={"a": "x" * 8000}, query={"b": "y" * 8000})
    RestCall("users", "GET", "/{a}", path={"a": previous("data")}, query={"b": previous("data")})


@pytest.mark.parametrize(
    "value", ["a..b", "...", "v1.2", "100%", "50%25", "\u00e9\u4e2d", "a;b", "C\u2122", "\u2026", "50%2", "%zz", "~"]
)
def test_values_that_are_what_they_say(value: str) -> None:
    assert RestCall("users", "GET", "/{a}", path={"a": value}).url_path().startswith("/")


def test_a_document_that_is_as_deep_as_it_may_be() -> None:
    GraphQLCall("users", "{a" * 100 + "}" * 100)
