"""A caller's signature: what it covers, and whom it convinces."""

import base64
import copy
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from kombu.utils.json import dumps, loads

from gateway.signing import STEP_S, SignatureProblem, canonical, sign_message, sign_step, verify
from gateway.signing_key import KeyProblem, SigningKey, own_key, read_key
from tests.servers.keys import signing_pair

NOW = 1_700_000_000.0
PRIVATE, PUBLIC = signing_pair()
SECRET = SigningKey("s" * 32)
KEYS = [pytest.param(SECRET, SECRET, id="HS256"), pytest.param(SigningKey(PRIVATE), SigningKey(PUBLIC), id="Ed25519")]
KWARGS: dict[str, Any] = {
    "version": 1,
    "call": {"protocol": "rest", "service": "u", "method": "POST", "route": "/a", "json": {"ä": [1, 2.5, None]}},
    "caller": "orders",
    "correlation_id": "order-42",
    "deadline_at": NOW + 30,
    "sent_at": NOW,
}
EMBED: dict[str, Any] = {"callbacks": [{"task": "t", "options": {"task_id": "x"}}], "errbacks": None, "chain": None}


def signed(key: SigningKey = SECRET, **changes: Any) -> str:
    return sign_message(key, "orders", "call-1", (), {**KWARGS, **changes}, EMBED, now=NOW)


def reason(text: str, *keys: SigningKey, now: float = NOW, **changed: Any) -> str:
    """Why it is not accepted; empty if it is."""
    given: dict[str, Any] = {"call_id": "call-1", "args": [], "kwargs": KWARGS, "embed": EMBED, **changed}
    try:
        verify(text, keys or (SECRET,), **given, now=now)
    except SignatureProblem as problem:
        return problem.reason
    return ""


@pytest.mark.parametrize(("signs", "verifies"), KEYS)
def test_what_was_signed_is_accepted_as_a_worker_reads_it(signs: SigningKey, verifies: SigningKey) -> None:
    text = signed(signs)
    args, kwargs, embed = loads(dumps([[], {**KWARGS, "signature": text}, EMBED]))
    claims = verify(text, [verifies], "call-1", args, kwargs, embed, now=NOW)
    assert (claims.iss, claims.sub, claims.jti) == ("orders", "call-1", None)


def changed(place: str) -> dict[str, Any]:
    kwargs = copy.deepcopy(KWARGS)
    at: Any = kwargs
    *way, last = place.split(".")
    for step in way:
        at = at[step]
    at[last] = "changed"
    return kwargs


@pytest.mark.parametrize(
    "place",
    [
        *("call.service", "call.method", "call.route", "call.json", "call.json.ä", "call.headers", "correlation_id"),
        *("deadline_at", "sent_at", "idempotency_key", "sealed", "request_id", "traceparent", "version", "new"),
    ],
)
@pytest.mark.parametrize(("signs", "verifies"), KEYS)
def test_whatever_is_changed_is_noticed(signs: SigningKey, verifies: SigningKey, place: str) -> None:
    assert reason(signed(signs), verifies, kwargs=changed(place)) == "tampered"


def test_the_id_the_arguments_and_what_follows_are_signed_too() -> None:
    assert reason(signed(), call_id="call-2") == "replayed"
    assert reason(signed(), args=[1]) == "tampered"
    assert reason(signed(), embed={}) == "tampered"
    assert reason(signed(), embed={**EMBED, "chain": [{"task": "t"}]}) == "tampered"
    assert reason(signed(), kwargs={**KWARGS, "caller": "billing"}) == "tampered"
    # What Celery leaves empty in one place and leaves out in another is the same.
    assert reason(signed(), embed={"callbacks": EMBED["callbacks"], "chord": None, "errbacks": []}) == ""


def test_only_a_key_of_the_caller_counts() -> None:
    assert reason(signed(), SigningKey("t" * 32)) == "forged"
    assert reason(signed(), SigningKey("t" * 32), SECRET) == ""
    assert reason(signed(SigningKey(PRIVATE)), SigningKey(signing_pair()[1])) == "forged"


def test_a_public_key_is_no_secret() -> None:
    """Algorithm confusion: an HMAC with the text of the public key, which everybody may know."""
    signing = _b64(b'{"alg":"HS256","typ":"gateway-call+jwt"}') + "." + _b64(_payload(signed()))
    for text in (PUBLIC, PUBLIC.strip()):
        mac = _b64(hmac.digest(text.encode(), signing.encode(), "sha256"))
        assert reason(f"{signing}.{mac}", SigningKey(PUBLIC)) == "forged"
    mac = _b64(hmac.digest(b"s" * 32, signing.encode(), "sha256"))
    assert reason(f"{signing}.{mac}") == "", "such a signature is well made, if the key is a secret"


def _payload(text: str) -> bytes:
    part = text.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "HS384", "HS512", "RS256", "EdDSA", "Ed25519", "hs256", "", 5])
@pytest.mark.parametrize("key", [SECRET, SigningKey(PUBLIC)])
def test_the_key_says_which_algorithm(alg: Any, key: SigningKey) -> None:
    head = _b64(json.dumps({"alg": alg, "typ": "gateway-call+jwt"}).encode())
    body = _b64(_payload(signed()))
    mac = _b64(hmac.digest(b"s" * 32, f"{head}.{body}".encode(), "sha256"))
    for tail in ("", mac):
        assert reason(f"{head}.{body}.{tail}", key) == "forged"


@pytest.mark.parametrize(
    "text", ["", ".", "..", "...", "a.b.c", "a.b", "é.ü.ö", "\0", "a" * 5000, "eyJ9.e30.", " " * 100]
)
def test_what_is_no_signature_is_refused(text: str) -> None:
    assert reason(text) in ("forged", "malformed")


@given(st.integers(0, 400), st.characters(codec="utf-8"))
def test_one_changed_character_is_enough(position: int, character: str) -> None:
    text = signed()
    position %= len(text)
    other = text[:position] + character + text[position + 1 :]
    # The last character of base64 has bits that mean nothing; what they say is the same.
    if other != text and other.rstrip() != text and not _same(other, text):
        assert reason(other) != ""


def _same(one: str, other: str) -> bool:
    try:
        return [base64.urlsafe_b64decode(part + "==") for part in one.split(".")] == [
            base64.urlsafe_b64decode(part + "==") for part in other.split(".")
        ]
    except ValueError:
        return False


def test_a_token_of_the_same_key_for_something_else_is_refused() -> None:
    other = jws.serialize_compact({"alg": "HS256", "typ": "JWT"}, _payload(signed()), SECRET.key)
    assert reason(other) == "malformed"
    empty = jws.serialize_compact({"alg": "HS256", "typ": "gateway-call+jwt"}, b"{}", SECRET.key)
    assert reason(empty) == "malformed"


def test_it_is_accepted_for_a_time() -> None:
    assert reason(signed(), now=NOW - 59) == ""
    assert reason(signed(), now=NOW - 61) == "early"
    # Past its deadline a call is told so; its signature is only taken for expired long after that.
    assert reason(signed(), now=NOW + 31) == ""
    assert reason(signed(), now=NOW + 30 + 3601) == "expired"


def test_nobody_signs_for_longer_than_ids_are_remembered() -> None:
    for until, why in ((NOW + STEP_S, ""), (NOW + 10 * STEP_S, "malformed")):
        kwargs = {**KWARGS, "deadline_at": until}
        assert reason(signed(deadline_at=until), kwargs=kwargs) == why


def test_a_step_is_signed_without_what_is_known_later() -> None:
    step = {**KWARGS, "deadline_s": 10.0}
    del step["deadline_at"]
    named = sign_step(SECRET, "orders", "call-1", step, now=NOW)
    later = {**step, "sent_at": NOW + 100}
    assert reason(named, kwargs=later, args=[{"status": 200}], embed={"chain": [{"task": "t"}]}) == ""
    assert reason(named, kwargs=later, call_id="call-2") == "replayed"
    assert reason(named, kwargs={**later, "deadline_s": 20.0}) == "tampered"
    assert reason(named, kwargs=later, now=NOW + STEP_S + 1) == "expired"
    loose = sign_step(SECRET, "orders", None, step, now=NOW)
    first = verify(loose, [SECRET], "call-7", [], later, {}, now=NOW)
    assert first.sub is None
    assert first.jti
    assert sign_step(SECRET, "orders", None, step, now=NOW) != loose


def test_a_message_cannot_be_passed_off_as_a_step() -> None:
    claims = json.loads(_payload(signed()))
    assert claims["of"] == "message"
    assert claims["exp"] == KWARGS["deadline_at"] + 3600


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(_json, _json)
def test_one_form_for_each_value(one: Any, other: Any) -> None:
    assert canonical(json.loads(json.dumps(one))) == canonical(one)
    if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
        assert canonical(one) != canonical(other)


def test_what_cannot_be_read_is_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, {1: 1, "a": 2}, float("nan")):
        with pytest.raises(SignatureProblem):
            canonical(value)


def test_keys_are_told_apart() -> None:
    assert (SECRET.algorithm, SECRET.can_sign, SECRET.is_weak) == ("HS256", True, False)
    assert SigningKey("short").is_weak
    private, public = SigningKey(PRIVATE), SigningKey(PUBLIC)
    assert (private.algorithm, private.can_sign) == ("Ed25519", True)
    assert (public.algorithm, public.can_sign) == ("Ed25519", False)
    assert SigningKey(PRIVATE.replace("\n", "\\n")).can_sign
    assert "s" * 32 not in repr(SECRET)
    assert repr(public) == "<SigningKey Ed25519 public>"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("-----BEGIN nonsense", "is not an Ed25519 key"),
        ("{", "is not an Ed25519 key"),
        ('{"kty": "oct", "k": "AAAA"}', "is not an Ed25519 key"),
        ('{"kty":"OKP","crv":"X25519","x":"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}', "is a key for X25519"),
    ],
)
def test_what_is_no_key_is_refused_without_showing_it(text: str, why: str) -> None:
    with pytest.raises(KeyProblem, match=why) as caught:
        SigningKey(text)
    assert not text.strip() or text.strip() not in str(caught.value)


def test_where_a_key_is(tmp_path: Any) -> None:
    file = tmp_path / "key.pem"
    file.write_text(PRIVATE)
    assert read_key(f"file:{file}", {}).can_sign
    assert own_key(f"file:{file}", {}).algorithm == "Ed25519"
    assert own_key("env:K", {"K": "s" * 32}).algorithm == "HS256"
    assert own_key("a plain secret", {}).algorithm == "HS256"
    for reference, why in (("env:NONE", "is not set"), (f"file:{tmp_path}/none", "cannot be read"), ("x", "neither")):
        with pytest.raises(KeyProblem, match=why):
            read_key(reference, {})
    with pytest.raises(KeyProblem, match="cannot sign"):
        own_key(PUBLIC, {})
