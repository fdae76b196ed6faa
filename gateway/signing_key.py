"""A caller's key: the secret of an HMAC, or one half of an Ed25519 pair."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.redaction import SECRETS

if TYPE_CHECKING:
    from joserfc.jwk import OctKey, OKPKey

__all__ = ["KeyProblem", "SigningKey", "key_text", "own_key", "read_key"]

#: RFC 7518, section 3.2: at least as long as the hash.
_STRONG_BYTES = 32


class KeyProblem(ValueError):
    """What is given is no key; says why and what to do, and shows nothing of it."""


class SigningKey:
    """Signs and verifies with the one algorithm that fits the key, whatever a message says.

    Attributes:
        algorithm: `HS256` (RFC 7518) or `Ed25519` (RFC 9864).
        can_sign: whether it is more than a public key.
        is_weak: an HMAC secret of less than 32 bytes, which could be guessed from a message.
    """

    __slots__ = ("algorithm", "can_sign", "is_weak", "key")

    def __init__(self, text: str) -> None:
        """Read a key.

        Args:
            text: a PEM or a JWK of an Ed25519 key, private or public; anything else is the secret of an HMAC.

        Raises:
            KeyProblem: it is empty, or a key of another kind.
        """
        # In an environment's variable the lines of a PEM are often written so.
        text = text.strip().replace("\\n", "\n")
        if not text:
            raise KeyProblem("is empty; set a random secret of 32 characters or more, or an Ed25519 key")
        self.key: OctKey | OKPKey
        if text.startswith(("-----BEGIN", "{")):
            self.key = _pair(text)
            self.algorithm, self.can_sign, self.is_weak = "Ed25519", bool(self.key.is_private), False
        else:
            self.key = _secret(text.encode())
            self.algorithm, self.can_sign, self.is_weak = "HS256", True, len(text.encode()) < _STRONG_BYTES
        if self.can_sign:
            SECRETS.register_key(text)

    def __repr__(self) -> str:
        return f"<SigningKey {self.algorithm}{'' if self.can_sign else ' public'}>"


def _pair(text: str) -> "OKPKey":
    from joserfc.jwk import OKPKey

    try:
        key = OKPKey.import_key(json.loads(text) if text.startswith("{") else text)
        curve = key.curve_name
    except Exception as error:  # whatever the library and its own libraries raise for what is no such key
        raise KeyProblem(
            f"is not an Ed25519 key ({type(error).__name__}); make one with `openssl genpkey -algorithm ed25519`"
        ) from None
    if curve != "Ed25519":
        raise KeyProblem(f"is a key for {curve}; make one with `openssl genpkey -algorithm ed25519`")
    return key


def _secret(value: bytes) -> "OctKey":
    from joserfc.jwk import OctKey

    with warnings.catch_warnings():
        # `is_weak` says it, at a time when somebody reads it.
        warnings.simplefilter("ignore")
        try:
            return OctKey.import_key(value)
        except ValueError as error:  # a certificate, or a public key without its first line
            raise KeyProblem(f"is no secret ({error}); use random text of 32 characters or more") from None


def read_key(reference: str, environ: Mapping[str, str]) -> SigningKey:
    """The key that a reference names: `env:NAME` or `file:/path`.

    Raises:
        KeyProblem: there is none; names the reference.
    """
    return _parsed(reference, key_text(reference, environ))


def own_key(value: str, environ: Mapping[str, str]) -> SigningKey:
    """The key of `GATEWAY_CALLER_KEY`: the key itself, or a reference to it.

    Raises:
        KeyProblem: it cannot be had, or cannot sign.
    """
    is_reference = value.startswith(("env:", "file:"))
    key = _parsed("GATEWAY_CALLER_KEY", key_text(value, environ) if is_reference else value)
    if not key.can_sign:
        raise KeyProblem("GATEWAY_CALLER_KEY: is a public key, which cannot sign; set the private one")
    return key


def key_text(reference: str, environ: Mapping[str, str]) -> str:
    """What stands where a reference points to.

    Raises:
        KeyProblem: nothing does.
    """
    kind, _, place = reference.partition(":")
    if kind == "file":
        try:
            return Path(place).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise KeyProblem(
                f"{reference}: cannot be read ({type(error).__name__}); correct the path or its rights"
            ) from None
    if kind != "env":
        raise KeyProblem("a key is neither 'env:NAME' nor 'file:/path'; write a reference")
    if not environ.get(place):
        raise KeyProblem(f"{reference}: is not set in the environment; set it")
    return environ[place]


def _parsed(name: str, text: str) -> SigningKey:
    try:
        return SigningKey(text)
    except KeyProblem as problem:
        raise KeyProblem(f"{name}: {problem}") from None
