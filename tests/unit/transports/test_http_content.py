"""The body of a reply as data."""

import asyncio
from typing import Any

import pytest

from tests.conformance.stillness import Stillness
from workers.transports.http_content import ContentError, content_of, readable

JSON = "application/json"


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        (JSON, b'{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        ("Application/JSON ; charset=utf-8", b"1", 1),
        ("application/problem+json", b'{"title": "no"}', {"title": "no"}),
        (JSON, b"\xef\xbb\xbf{}", {}),
        (JSON, b"1180591620717411303424", 2**70),
        (JSON, b"1" * 4000, int("1" * 4000)),
        (JSON, b"[" * 100 + b"]" * 100, nested(100)),
        (JSON, b'["' + b"[" * 200 + b'"]', ["[" * 200]),
        (JSON, b'["\\\\ud800"]', ["\\ud800"]),
        (JSON, b'"\\ud83d\\ude00"', "\U0001f600"),
        (JSON, b"", None),
        ("text/plain", "grün".encode(), "grün"),
        ("text/plain; charset=iso-8859-1", b"gr\xfcn", "grün"),
        ('text/html; x=1; Charset="UTF-8"', "grün".encode(), "grün"),
        ("text/plain", b"", ""),
        ("image/png", b"\x89PNG", b"\x89PNG"),
        ("application/octet-stream", b"", b""),
        ("", b"raw", b"raw"),
        ("", b"", None),
    ],
)
def test_content(content_type: str, body: bytes, data: Any) -> None:
    assert content_of(content_type, body) == data


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b"<html>"),
        (JSON, b" "),
        (JSON, b"{} {}"),
        (JSON, b'{"a": NaN}'),
        (JSON, b"-Infinity"),
        (JSON, b"1e999"),
        (JSON, b'{"a": 1, "a": 2}'),
        (JSON, b'[{"b": {"a": 1, "c": 1, "a": 1}}]'),
        (JSON, b'"\xff"'),
        (JSON, b'"\\ud800"'),
        (JSON, b'["a", "\\udc00\\ud800"]'),
        (JSON, b'{"\\uD800": 1}'),
        (JSON, b"[" * 100_000),
        (JSON, b"[" * 101 + b"]" * 101),
        (JSON, b'{"a":' * 600 + b"1" + b"}" * 600),
        (JSON, b"[" * 9000 + b"]" * 9000),
        (JSON, b"1" * 10_000),
        (JSON, b"9" * 4300),
        (JSON, b"[-1e400]"),
        (JSON, "{}".encode("utf-16")),
        ("text/plain", b"\xff"),
        ("text/plain; charset=klingon", b"x"),
        ("text/plain; charset=hex", b"00"),
        ("text/plain; charset=utf-7", b"+2AA-"),
        ("text/plain; charset=punycode", b"a-"),
        ("text/plain; charset=Unicode_Escape", b"\\n"),
        ("text/plain; charset=utf\0", b"x"),
    ],
)
def test_what_its_type_does_not_say(content_type: str, body: bytes) -> None:
    with pytest.raises(ContentError) as caught:
        content_of(content_type, body)
    assert len(str(caught.value)) < 300


async def test_large_json_lets_other_threads_go_on() -> None:
    body = b"[" + b"1," * 2_000_000 + b"1]"
    async with Stillness() as stillness:
        assert len(await asyncio.to_thread(content_of, JSON, body)) == 2_000_001
    assert stillness.longest_s < stillness.took_s / 4


def test_a_name_that_comes_twice_is_named() -> None:
    with pytest.raises(ContentError, match="'b' comes twice"):
        content_of(JSON, b'{"a": 1, "b": 2, "b": 3}')


@pytest.mark.parametrize(
    ("content_type", "body", "complete", "details"),
    [
        (JSON, b'{"a": 1}', True, {"a": 1}),
        (JSON, b'{"a": 1', True, '{"a": 1'),
        (JSON, b'{"a": "gr\xc3', False, '{"a": "gr'),
        (JSON, b"\xff\xfe\xff\xff\xff", True, None),
        (JSON, b"[" * 600 + b"]" * 600, True, "[" * 600 + "]" * 600),
        (JSON, b'"\\ud800"', True, '"\\ud800"'),
        ("text/plain; charset=utf-7", b"+2AA-", True, "+2AA-"),
        ("text/html", b"<b>no</b>", True, "<b>no</b>"),
        ("", b"no", True, "no"),
        ("image/png", b"\x89PNG", True, None),
        ("image/png", b"\x89PNG and much more", False, None),
        (JSON, b"", True, None),
    ],
)
def test_errors_are_read_as_well_as_they_can_be(content_type: str, body: bytes, complete: bool, details: Any) -> None:
    assert readable(content_type, body, complete=complete) == details
