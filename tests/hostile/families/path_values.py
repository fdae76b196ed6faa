"""Values of path parameters that ask for another path."""

from typing import Any

from tests.hostile.case import Call, rest

_VALUES: list[Any] = [
    "",
    ".",
    "..",
    "../admin",
    "..\\admin",
    "..;",
    "..;/admin",
    ".;",
    "a/../b",
    "a\\b",
    "/..",
    "../" * 20,
    "%2e%2e",
    "%2e%2e%2f",
    "%2E%2E%5C",
    "%252e%252e%252f",
    ".%2e",
    "%2e.",
    "..%2f",
    "..%5c",
    "..%255c",
    "%2e%2e%3b",
    "%c0%ae%c0%ae%c0%af",
    "..%c0%af",
    "%e0%80%ae%e0%80%ae",
    "%u002e%u002e",
    "%uff0e%uff0e%u2215",
    "..%u2216x",
    "\uff0e\uff0e",
    "\uff0e\uff0e\uff0fadmin",
    "\u2025",
    "\u2024\u2024",
    "a\0",
    "a\r\nHost: evil.example",
    "a\nb",
    "a\tb",
    "a\x7f",
    "%00",
    "%0d%0a",
    "%2500",
    "\ud800",
    None,
    ["a", "b"],
    {"a": "b"},
    float("nan"),
    float("inf"),
    1 << 14_100,
]

CASES = [
    *(
        Call(family="path values", name=ascii(value)[:60], call=rest("/users/{user_id}/x", path={"user_id": value}))
        for value in _VALUES
    ),
    Call(family="path values", name="split dots", call=rest("/x/{a}{b}/y", path={"a": ".", "b": "."})),
    Call(family="path values", name="dot beside dot", call=rest("/x/.{a}/y", path={"a": "."})),
    Call(family="path values", name="split encoding", call=rest("/x/%{a}/y", path={"a": "2e"})),
    Call(family="path values", name="another parameter", call=rest("/x/{a}", path={"a": "1", "b": "2"})),
    Call(family="path values", name="no mapping", call=rest("/x/{a}", path=["a"])),
]
