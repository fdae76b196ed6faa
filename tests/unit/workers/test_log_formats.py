"""A line has one form, whatever anybody logs: it parses, it cannot be forged, and no credential is in it."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.envelope import Envelope
from gateway.redaction import SECRETS
from tests.unit.workers.executions import execution
from workers.logs.formats import formatter_of
from workers.observation.call_context import CURRENT, current_fields

SECRET = "format-canary-0123456789"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRETS.register(SECRET)


class Spoken:
    """A logger whose lines are kept."""

    def __init__(self, form: str) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(formatter_of(form))
        self.log = logging.getLogger("tests.spoken")
        self.log.propagate = False
        self.log.setLevel(logging.DEBUG)
        self.log.addHandler(self.handler)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def line(self) -> dict[str, Any]:
        """The only one, of JSON."""
        (line,) = self.text.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


@pytest.fixture
def as_json() -> Iterator[Spoken]:
    made = Spoken("json")
    yield made
    made.log.removeHandler(made.handler)


@pytest.fixture
def for_people() -> Iterator[Spoken]:
    made = Spoken("console")
    yield made
    made.log.removeHandler(made.handler)


class Deep:
    def __repr__(self) -> str:
        raise ValueError("no form")


@pytest.mark.parametrize(
    ("said", "extra"),
    [
        ('authorization: unknown-token-1"rest', {}),
        ("half a pair \ud800", {}),
        ("\u2028\x85\x9b2K\x1b[1A\r\n2026 forged", {}),
        ("big", {"n": 2**70}),
        ("bytes", {"n": b"\xff\n"}),
        ("odd keys", {"n": {(1, 2): {3}}}),
        ("none", {"n": float("nan")}),
        ("ends in authorization", {"correlation_id": "c-1"}),
        ("no form", {"n": Deep()}),
    ],
)
def test_each_line_of_json_parses(as_json: Spoken, said: str, extra: dict[str, Any]) -> None:
    as_json.log.info(said, extra=extra)
    assert as_json.line["logger"] == "tests.spoken"
    assert as_json.text.rstrip("\n").isprintable()
    assert as_json.line.get("correlation_id") == extra.get("correlation_id")


async def test_what_cannot_be_formatted_is_json_too_and_names_its_call() -> None:
    # Not through a logger: pytest's own handler of its lines would fail.
    record = logging.LogRecord("tests.spoken", logging.INFO, __file__, 1, "%d", ("no number",), None)
    token = CURRENT.set(execution())
    try:
        line = json.loads(formatter_of("json").format(record))
    finally:
        CURRENT.reset(token)
    assert "cannot be formatted: '%d'" in line["event"]
    assert (line["service"], line["level"], line["error"]) == ("users", "info", "TypeError")
    assert "no number" not in str(line)


@pytest.mark.parametrize(
    ("said", "extra"),
    [
        (json.dumps({"authorization": "Bearer unknown-token-1"}), {}),
        (json.dumps({"said": json.dumps({"x-api-key": "unknown-token-1"})}), {}),
        ("fields", {"headers": {"Authorization": 'Bearer un"known-token-1'}}),
        ("pairs", {"headers": [(b"x", {"x-api-key": b"unknown-token-1"})]}),
        ("text", {"said": 'it has "authorization": "unknown-token-1"'}),
        ("as a key", {"n": {SECRET: 1}}),
        ("quoted", {"said": f'"{SECRET}"'}),
    ],
)
def test_no_credential_is_in_it(as_json: Spoken, said: str, extra: dict[str, Any]) -> None:
    as_json.log.info(said, extra=extra)
    assert "known-token-1" not in as_json.text
    assert SECRET not in as_json.text
    assert "[redacted]" in as_json.text
    assert "[redacted]]" not in as_json.text


def test_a_credential_in_a_quoted_field_for_people(for_people: Spoken) -> None:
    for_people.log.info("text", extra={"said": 'it has "authorization": "unknown-token-1"', "n": f'"{SECRET}"'})
    assert "unknown-token-1" not in for_people.text
    assert SECRET not in for_people.text


def test_a_field_ends_where_it_says(for_people: Spoken) -> None:
    for_people.log.info("x", extra={"said": 'no" status=200 b="\\'})
    assert for_people.text.endswith(' x said="no\\" status=200 b=\\"\\\\"\n')


@pytest.mark.parametrize("form", ["as_json", "for_people"])
def test_a_library_says_nothing_in_the_place_of_the_head(request: pytest.FixtureRequest, form: str) -> None:
    spoken = request.getfixturevalue(form)
    spoken.log.info("true", extra={"event": "forged", "level": "forged", "timestamp": "forged", "logger": "forged"})
    assert "true" in spoken.text
    assert "forged" not in spoken.text


def test_tracebacks_do_not_move_the_cursor(for_people: Spoken) -> None:
    try:
        raise ValueError("bad\x1b[2K\x1b[1A\n2026-01-01 forged")
    except ValueError:
        for_people.log.exception("failed")
    assert "\x1b" not in for_people.text
    assert all(line.startswith("  ") for line in for_people.text.splitlines()[1:])


@pytest.mark.parametrize(
    ("sent", "own", "expected"),
    [
        (None, None, {}),
        ("garbage", None, {}),
        ("00-\nforged-y-z", None, {}),
        (f"00-{TRACE}-00f067aa0ba902b7-01", None, {"trace_id": TRACE}),
        (None, f"00-{TRACE}-1111111111111111-01", {"trace_id": TRACE, "span_id": "1" * 16}),
    ],
)
async def test_the_trace(sent: str | None, own: str | None, expected: dict[str, str]) -> None:
    made = execution()
    made.envelope = Envelope(version=1, call=made.call, traceparent=sent)
    made.trace = None if own is None else {"traceparent": own}
    token = CURRENT.set(made)
    try:
        fields = current_fields()
    finally:
        CURRENT.reset(token)
    assert {name: value for name, value in fields.items() if name in ("trace_id", "span_id")} == expected
    assert fields["service"]
