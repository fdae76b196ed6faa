"""What a process knows as secret is taken out of what leaves it, and nothing else is."""

import base64
import html
import io
import json
import logging
import re
import time
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction import REDACTED, RedactingFormatter, Redactor

SECRET = 'k3y"with\\odd +chars/and=more'


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    made.register(SECRET)
    made.register("plain-canary")
    return made


def forms(secret: str) -> list[str]:
    in_json, percent = json.dumps({"a": secret}), quote(secret, safe="")
    texts = [
        secret,
        percent,
        quote(secret),
        quote_plus(secret),
        "".join(part.lower() if part.startswith("%") else part for part in re.split("(%..)", percent)),
        quote(percent, safe=""),
        in_json,
        json.dumps(in_json),
        json.dumps(json.dumps(in_json)),
        in_json.replace("/", "\\/"),
        "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in secret),
        "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in secret),
        "".join(c if c.isalnum() else f"\\x{ord(c):02x}" for c in secret),
        repr({"a": secret}),
        repr(secret.encode()),
        repr([repr(secret)]),
        html.escape(secret),
        html.escape(html.escape(secret)),
        "".join(c if c.isalnum() else f"&#{ord(c)};" for c in secret),
        "".join(c if c.isalnum() else f"&#x{ord(c):02X};" for c in secret),
    ]
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        texts += [encode(("x" * before + secret + "y" * 5).encode()).decode() for before in range(6)]
    texts.append(quote(texts[-1], safe=""))
    return texts


def has(text: str) -> bool:
    """Whether any letters of the secret are left."""
    return any(part in text for part in ("odd", "chars", "more", "canary"))


@pytest.mark.parametrize("form", [*forms(SECRET), *forms("plain-canary")])
def test_in_every_form(redactor: Redactor, form: str) -> None:
    value: Any
    for value in (form, [form], {"a": {"b": form}}, {form: 1}, {"a": [1, None, f"before {form} after"]}):
        cleaned = redactor.clean(value)
        text = json.dumps(cleaned)
        assert REDACTED in text
        assert not has(text)
    line = redactor.line(f"sent {form}")
    assert REDACTED in line
    assert not has(line)
    octets, _ = redactor.reply(b"\xff" + form.encode(), {})
    assert REDACTED.encode() in octets
    assert not has(octets.decode("latin-1"))


def test_json_stays_json(redactor: Redactor) -> None:
    said = json.dumps({"you sent": SECRET, "n": 1})
    assert json.loads(redactor.clean({"body": said})["body"]) == {"you sent": REDACTED, "n": 1}


def test_characters_that_are_no_letters_are_not_anything(redactor: Redactor) -> None:
    for text in ('k3y"with-odd +chars/and=more', "k3y with odd chars and more", "plain canary", "plain_canary"):
        assert redactor.clean([text]) == [text]


@pytest.mark.parametrize(
    "secret", ["pässwörd ß", "a\tb c\nd e", "\U0001f511key\U0001f511-x", '":"/+=&<>', "x\udcffyzabc"]
)
def test_secrets_of_any_characters(secret: str) -> None:
    redactor = Redactor()
    redactor.register(secret)
    texts = [f"({secret})", json.dumps(secret), json.dumps(json.dumps(secret)), repr(secret)]
    if secret.isprintable():
        texts += [quote(secret), json.dumps(secret, ensure_ascii=False), html.escape(secret)]
    for text in texts:
        assert REDACTED in redactor.line(text), text
        assert REDACTED in redactor.clean({"a": [text]})["a"][0], text


def test_bytes(redactor: Redactor) -> None:
    assert redactor.clean({"a": b"\xffplain-canary\x00"}) == {"a": b"\xff[redacted]\x00"}
    assert redactor.reply(b"\xffplain-canary", {"a": "plain-canary"}) == (b"\xff[redacted]", {"a": REDACTED})


def deep() -> Any:
    value: Any = "plain-canary"
    for _ in range(5000):
        value = [value]
    return value


class Odd:
    def __repr__(self) -> str:
        return "<plain-canary>"


@pytest.mark.parametrize(
    "value",
    [
        deep(),
        "x\udcff plain-canary",
        {"a\udcff": ["plain-canary", 10**400]},
        {("a", "b"): "plain-canary", 1: float("nan"), None: float("inf")},
        {"a": Odd(), "b": {"plain-canary"}},
        [b"\xff", "plain-canary", 2**70],
    ],
    ids=["deep", "surrogate", "huge number", "odd keys", "odd objects", "bytes beside"],
)
def test_no_value_is_too_odd(redactor: Redactor, value: Any) -> None:
    assert "canary" not in repr(redactor.clean(value))
    data, headers = redactor.reply(value, {"etag": "e"})
    assert "canary" not in repr(data)
    assert headers == {"etag": "e"}


@pytest.mark.parametrize("filler", ["\\", "%25", "&amp;", "&#0", "%", "\\u00", "-", "+"])
def test_no_text_is_read_again_and_again(filler: str) -> None:
    """As a service that knows its own key might try: a worker has one loop for all calls."""
    redactor = Redactor()
    for secret in ("-service-key-1", "\\odd-service-key-2", '"+/service-key-3', "service\\-key-4"):
        redactor.register(secret)
    text = "service key service-key-1 " + filler * 200_000
    began = time.process_time()
    for _ in range(2):
        redactor.clean([text])
        redactor.line(text)
    assert time.process_time() - began < 3, "quadratic, it is minutes"


def test_what_is_too_deep_to_be_searched_is_left_out(redactor: Redactor) -> None:
    assert redactor.clean(deep()) == REDACTED


def test_what_has_none_is_the_same_object(redactor: Redactor) -> None:
    values: list[Any] = [None, 1, 10**30, "text", {"a": [1, 2.5, True, "plain", b"\xff"]}, [], float("inf")]
    for value in values:
        assert redactor.clean(value) is value
    data, headers = {"a": 1}, {"content-type": "application/json"}
    cleaned = redactor.reply(data, headers)
    assert cleaned[0] is data
    assert cleaned[1] is headers


def test_values_of_one_call(redactor: Redactor) -> None:
    assert redactor.clean({"a": "user-token"}, ["user-token"]) == {"a": REDACTED}
    assert redactor.clean({"a": "user-token"}) == {"a": "user-token"}


def test_headers_that_carry_credentials_are_left_out_by_name(redactor: Redactor) -> None:
    headers = {"x-service-auth": "unknown", "authorization": "Bearer abc", "etag": "e"}
    assert redactor.reply(None, headers)[1] == {"x-service-auth": REDACTED, "authorization": REDACTED, "etag": "e"}


def test_a_number_is_a_secret_if_it_is_all_of_it() -> None:
    redactor = Redactor()
    redactor.register("123456")
    assert redactor.clean({"n": 91234567, "t": "a 123456 b"}) == {"n": 91234567, "t": f"a {REDACTED} b"}
    assert redactor.clean({"n": [123456, True], "f": 0.123456}) == {"n": [REDACTED, True], "f": 0.123456}


def test_a_short_one_would_be_found_everywhere() -> None:
    redactor = Redactor()
    assert not redactor.register("abc")
    assert redactor.clean("abcabc") == "abcabc"
    assert redactor.clean("abcabc", ["abc"]) == "abcabc"


def test_what_services_are_not_sent_is_taken_out_of_lines_alone() -> None:
    redactor = Redactor()
    redactor.register("password", sent=False)
    assert redactor.line("redis://:password@h") == f"redis://:{REDACTED}@h"
    assert redactor.clean({"field": "password"}) == {"field": "password"}
    redactor.register("password")
    assert redactor.clean({"field": "password"}) == {"field": REDACTED}


def test_one_that_contains_another_goes_first() -> None:
    redactor = Redactor()
    for secret in ("secret", "secret-longer", "longer-secret"):
        redactor.register(secret)
    assert redactor.line("secret-longer longer-secret secret") == " ".join([REDACTED] * 3)


def test_it_is_bounded_and_keeps_the_latest() -> None:
    redactor = Redactor()
    for number in range(2000):
        redactor.register(f"token-number-{number:05}", lasting=False)
    assert redactor.clean("token-number-01999") == REDACTED
    assert redactor.clean("token-number-00001") != REDACTED
    assert repr(redactor) == "<Redactor 500 secrets>"


def test_what_lasts_is_not_pushed_out_by_what_does_not() -> None:
    redactor = Redactor()
    redactor.register("service-key-1")
    redactor.register("a-token-that-is-a-key-too", lasting=False)
    redactor.register("a-token-that-is-a-key-too")
    redactor.register("replaced-key-1")
    redactor.retire("replaced-key-1")
    for number in range(600):
        redactor.register(f"token-number-{number:05}", lasting=False)
    assert redactor.clean(["service-key-1", "a-token-that-is-a-key-too"]) == [REDACTED, REDACTED]
    assert redactor.clean("replaced-key-1") == "replaced-key-1", "long ago another one took its place"


def test_a_line_that_cannot_be_formatted(redactor: Redactor, capsys: pytest.CaptureFixture[str]) -> None:
    logger, written = logging.Logger("any"), io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(RedactingFormatter(logging.Formatter(), redactor))
    logger.addHandler(handler)
    logger.error("plain-canary %d", "plain-canary")
    assert "cannot be formatted (TypeError): '[redacted] %d'" in written.getvalue()
    assert "canary" not in written.getvalue() + capsys.readouterr().err


def test_keys_are_known_by_their_lines() -> None:
    redactor = Redactor()
    redactor.register_key("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ\n-----END PRIVATE KEY-----\n")
    assert redactor.line("read MC4CAQAwBQYDK2VwBCIEIJ from PRIVATE KEY") == f"read {REDACTED} from PRIVATE KEY"


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer abcdef",
        "{'authorization': 'Bearer abcdef'}",
        '{"x-service-auth": "abcdef"}',
        "[('X-Api-Key', 'abcdef')]",
        "[(b'authorization', b'abcdef')]",
        "Cookie=abcdef",
    ],
)
def test_headers_in_a_log_line(line: str) -> None:
    shown = Redactor().line(line)
    assert "abcdef" not in shown
    assert REDACTED in shown


def test_log_lines_with_arguments_and_tracebacks(redactor: Redactor) -> None:
    handler = logging.Formatter("%(levelname)s %(message)s")
    try:
        raise ValueError("cannot send plain-canary")
    except ValueError as error:
        record = logging.LogRecord(
            "any", logging.DEBUG, __file__, 1, "sent %s", ({"h": "plain-canary"},), (ValueError, error, None)
        )
    line = RedactingFormatter(handler, redactor).format(record)
    assert "plain-canary" not in line
    assert "ValueError" in line


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(_json, st.text(min_size=6, max_size=12))
def test_nothing_else_changes_and_the_secret_is_gone(value: object, secret: str) -> None:
    redactor = Redactor()
    redactor.register(secret)
    cleaned = redactor.clean(value)
    if secret not in json.dumps(value, ensure_ascii=False):
        assert cleaned == value or REDACTED in json.dumps(cleaned)
    planted = {"a": [value, f"x{secret}y"]}
    assert redactor.clean(planted)["a"][1] == f"x{REDACTED}y"
