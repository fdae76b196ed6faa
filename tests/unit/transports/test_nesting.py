"""How deep a reply may nest."""

from collections import OrderedDict
from typing import Any

import pytest

from gateway.plain_json import MAX_DEPTH
from workers.transports.nesting import is_too_deep


def lists(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def dicts(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value, "b": None}
    return value


@pytest.mark.parametrize("value", [None, 1, "[[[", [], {}, lists(MAX_DEPTH), dicts(MAX_DEPTH), [lists(99), dicts(99)]])
def test_as_deep_as_a_call_may_be(value: Any) -> None:
    assert not is_too_deep(value)


@pytest.mark.parametrize(
    "value",
    [
        lists(MAX_DEPTH + 1),
        dicts(MAX_DEPTH + 1),
        OrderedDict(a=lists(MAX_DEPTH)),
        {"a": dicts(3), "b": [1, lists(99)]},
        lists(9000),
    ],
    ids=["lists", "dicts", "a kind of dict", "one of several", "far deeper than a stack"],
)
def test_deeper(value: Any) -> None:
    assert is_too_deep(value)
