"""Calls that nobody signed who may: forged, re-signed, cut, of another call, of another time, by another algorithm."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from tests.hostile.case import Signature

__all__ = ["CASES"]

Claims = dict[str, Any]


def _b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _parts(text: str) -> tuple[dict[str, Any], Claims, str]:
    head, body, mac = text.split(".")
    pad = "=" * 3
    return (
        json.loads(base64.urlsafe_b64decode(head + pad)),
        json.loads(base64.urlsafe_b64decode(body + pad)),
        mac,
    )


def _headed(**header: Any) -> Callable[[Any], str]:
    """Another header over the same claims and signature."""

    def make(given: Any) -> str:
        old, claims, mac = _parts(given.text)
        return f"{_b64(json.dumps({**old, **header}).encode())}.{_b64(json.dumps(claims).encode())}.{mac}"

    return make


def _unsigned(alg: Any) -> Callable[[Any], str]:
    return lambda given: (
        f"{_b64(json.dumps({'alg': alg, 'typ': 'gateway-call+jwt'}).encode())}.{given.text.split('.')[1]}."
    )


def _by(secret: bytes) -> Callable[[Any], str]:
    """The claims as they were, by a key that is not the caller's."""

    def make(given: Any) -> str:
        head = _b64(json.dumps({"alg": "HS256", "typ": "gateway-call+jwt"}).encode())
        signing = f"{head}.{given.text.split('.')[1]}"
        return f"{signing}.{_b64(hmac.digest(secret, signing.encode(), 'sha256'))}"

    return make


def _claiming(**changed: Any) -> Callable[[Any], str]:
    """Other claims with the old signature."""

    def make(given: Any) -> str:
        head, _, mac = given.text.split(".")
        _, claims, _ = _parts(given.text)
        return f"{head}.{_b64(json.dumps({**claims, **changed}).encode())}.{mac}"

    return make


def _signed(**changed: Any) -> Callable[[Any], str]:
    """Other claims, signed with the caller's own key: a caller that lies."""

    def make(given: Any) -> str:
        _, claims, _ = _parts(given.text)
        claims |= changed
        return str(given.sign({name: value for name, value in claims.items() if value is not ...}))

    return make


def _cut(share: int) -> Callable[[Any], str]:
    return lambda given: given.text[: len(given.text) * share // 100]


def _without(number: int) -> Callable[[Any], str]:
    def make(given: Any) -> str:
        parts = given.text.split(".")
        parts[number] = ""
        return ".".join(parts)

    return make


def _public(given: Any) -> str:
    """Algorithm confusion: an HMAC with the public key's text, which everybody may know."""
    return _by(given.public.encode())(given)


_NO_ALGORITHMS: list[Any] = ["none", "None", "nOnE", "", None, "HS256", "Ed25519", 0, []]
_HASH = hashlib.sha256(b"another call").hexdigest()
_MADE: dict[str, Callable[[Any], Any]] = {
    **{f"cut to {share} %": _cut(share) for share in range(0, 100, 10)},
    **{f"without part {number}": _without(number) for number in range(3)},
    "two parts": lambda given: given.text.rpartition(".")[0],
    "four parts": lambda given: f"{given.text}.x",
    "five parts": lambda given: f"{given.text}.x.y",
    "doubled": lambda given: given.text + given.text,
    "reversed": lambda given: given.text[::-1],
    "upper case": lambda given: given.text.upper(),
    "a space before": lambda given: f" {given.text}",
    "a line after": lambda given: f"{given.text}\n",
    "as bytes": lambda given: repr(given.text.encode()),
    "as a bearer": lambda given: f"Bearer {given.text}",
    "no text: null": lambda given: None,
    "no text: a number": lambda given: 7,
    "no text: true": lambda given: True,
    "no text: a list": lambda given: [given.text],
    "no text: an object": lambda given: {"jws": given.text},
    "a flattened JWS": lambda given: json.dumps(
        dict(zip(("protected", "payload", "signature"), given.text.split("."), strict=True))
    ),
    "a very long one": lambda given: given.text + "a" * 100_000,
    "zeros": lambda given: "\0" * 100,
    **{f"alg {alg!r}, unsigned": _unsigned(alg) for alg in _NO_ALGORITHMS},
    **{
        f"alg {alg!r} in the header": _headed(alg=alg)
        for alg in ("none", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA")
    },
    **{f"typ {kind!r}": _headed(typ=kind) for kind in ("JWT", "", None, "gateway-sealed")},
    "a key in the header": _headed(jwk={"kty": "oct", "k": "AAAA"}),
    "a key's address in the header": _headed(jku="http://evil.example/keys"),
    "a certificate's address in the header": _headed(x5u="http://evil.example/c"),
    "a key's id that is a path": _headed(kid="../../../../dev/null"),
    "a critical extension": _headed(crit=["x"], x=1),
    "not encoded": _headed(b64=False, crit=["b64"]),
    "the public key as a secret": _public,
    "an empty secret": _by(b""),
    "a secret of one byte": _by(b"s"),
    "a secret of zeros": _by(bytes(32)),
    "somebody's secret": _by(b"somebody else's secret of a good length"),
    **{
        f"claims changed: {name}": _claiming(**{name: value})
        for name, value in (
            ("iss", "idle"),
            ("sub", "another"),
            ("sha256", _HASH),
            ("exp", 9e9),
            ("iat", 1),
            ("of", "step"),
            ("jti", "x"),
        )
    },
    "signed, of another call": _signed(sha256=_HASH),
    "signed, a hash in upper case": lambda given: given.sign(
        _parts(given.text)[1] | {"sha256": _parts(given.text)[1]["sha256"].upper()}
    ),
    "signed, an empty hash": _signed(sha256=""),
    "signed, of another caller": _signed(iss="idle"),
    "signed, of nobody": _signed(iss=""),
    "signed, of another id": _signed(sub="another-id"),
    "signed, an empty id": _signed(sub=""),
    "signed, without an id": _signed(sub=...),
    "signed, a step that is a message": _signed(of="step"),
    "signed, of something else": _signed(of="everything"),
    "signed, expired": _signed(exp=1_600_000_000.0),
    "signed, expires at once": _signed(exp=0),
    "signed, expires before it begins": _signed(exp=-1e18),
    "signed, in an hour": lambda given: given.sign(
        _parts(given.text)[1] | {"iat": _parts(given.text)[1]["iat"] + 3600}
    ),
    **{f"signed, without {name}": _signed(**{name: ...}) for name in ("iss", "iat", "exp", "of", "sha256")},
    **{
        f"signed, {name} of another type": _signed(**{name: value})
        for name, value in (
            ("iss", 1),
            ("iat", "now"),
            ("exp", "never"),
            ("exp", None),
            ("of", None),
            ("sha256", [1]),
            ("sub", 5),
        )
    },
    "signed, no claims": lambda given: given.sign({}),
    "signed, a list": lambda given: given.sign([]),
    "signed, no JSON": lambda given: given.sign(b"\xff\xfe"),
    "signed, nested": lambda given: given.sign(b"[" * 2_000),
}
_CALLERS: dict[str, Any] = {
    "nobody": None,
    "empty": "",
    "in upper case": "ORDERS",
    "with a space": "orders ",
    "with a line": "orders\n",
    "with a zero": "orders\0",
    "a list": ["orders"],
    "an object": {"orders": 1},
    "a number": 1,
    "true": True,
    "of the class": "__class__",
    "another one": "billing",
    "unknown": "admin",
    "long": "o" * 10_000,
}
CASES: list[Signature] = [
    *(Signature(family="signatures", name=name, make=make) for name, make in _MADE.items()),
    *(Signature(family="signatures", name=f"caller {name}", caller=caller) for name, caller in _CALLERS.items()),
]
