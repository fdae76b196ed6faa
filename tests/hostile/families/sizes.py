"""Calls that are too large or too deep."""

import json
from typing import Any

from gateway.call_size import MAX_CALL_BYTES
from tests.hostile.case import Call, graphql, grpc, rest


def _nested(levels: int, *, in_lists: bool = False) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if in_lists else {"a": value}
    return value


_LARGE = "x" * (MAX_CALL_BYTES + 1)
_REFERENCE = {"$previous": ""}


def _post(**body: Any) -> dict[str, Any]:
    return rest(method="POST", **body)


_CALLS: dict[str, Any] = {
    "a JSON body of 8 MiB": _post(json={"a": _LARGE}),
    "a JSON body of many numbers": _post(json=[1] * (MAX_CALL_BYTES // 2)),
    "a body of 8 MiB": _post(content="eHh4" * (MAX_CALL_BYTES // 4 + 1)),
    "a form of 8 MiB": _post(form={"a": _LARGE}),
    "a form of many names": _post(form={f"n{n}": "v" for n in range(MAX_CALL_BYTES // 8)}),
    "a request of 8 MiB": grpc(request={"user_id": _LARGE}),
    "variables of 8 MiB": graphql(variables={"a": _LARGE}),
    "a document of 64 KiB": graphql("{ a } #" + "x" * 65_536),
    "a document nested too deep": graphql("{a" * 200 + "}" * 200),
    "arguments nested too deep": graphql("{ a(b: " + "[" * 200 + "]" * 200 + ") }"),
    "a query string of 16 KiB": rest(query={"a": "x" * 16_385}),
    "a query of many names": rest(query={f"n{n}": "v" for n in range(4000)}),
    "a query that grows": rest(query={"a": "\u20ac" * 2000}),
    "a path of 16 KiB": rest("/users/{user_id}", path={"user_id": "x" * 16_385}),
    "a route of 16 KiB": rest("/" + "x" * 16_385),
    "a route of many parameters": rest("/{a}" * 6000, path={"a": "xxx"}),
    "JSON nested too deep": _post(json=_nested(101)),
    "lists nested too deep": _post(json=_nested(101, in_lists=True)),
    "JSON nested far too deep": _post(json=_nested(500)),
    "variables nested too deep": graphql(variables=_nested(101)),
    "an integer of 14,100 bits": _post(json=1 << 14_100),
}

CASES = [
    *(Call(family="sizes", name=name, call=call) for name, call in _CALLS.items()),
    Call(
        family="sizes",
        name="call_json of 8 MiB",
        call=...,
        envelope={"call_json": json.dumps(_CALLS["a JSON body of 8 MiB"])},
    ),
    Call(
        family="sizes",
        name="a result that is referred to a thousand times",
        call=_post(json=[_REFERENCE] * 1000),
        envelope={"uses_previous": True},
        args=["x" * 100_000],
    ),
    Call(
        family="sizes",
        name="a nested result, referred to deep within",
        call=_post(json={"a": _nested(90) | {"b": _REFERENCE}}),
        envelope={"uses_previous": True},
        args=[_nested(500)],
    ),
    Call(
        family="sizes",
        name="a reference far within",
        call=_post(json=_nested(500) | {"b": _REFERENCE}),
        envelope={"uses_previous": True},
        args=["x"],
    ),
    Call(family="sizes", name="no result to refer to", call=_post(json=_REFERENCE), envelope={"uses_previous": True}),
    Call(
        family="sizes",
        name="a path from a result",
        call=rest("/users/{user_id}", path={"user_id": _REFERENCE}),
        envelope={"uses_previous": True},
        args=["../admin"],
    ),
    Call(
        family="sizes",
        name="a query from a result",
        call=rest(query={"a": _REFERENCE}),
        envelope={"uses_previous": True},
        args=["x" * 20_000],
    ),
]
