"""Values that only the workers can read: header values of a user on whose behalf a call is made.

A producer encrypts them for the workers' public key, as one JWE (RFC 7516, ECDH-ES with A256GCM). What is sealed names
the caller, the service and the operation: whoever copies it into another call gets nothing sent.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import headers
from gateway.call import Call
from gateway.errors import InvalidCallError
from gateway.redaction import SECRETS
from gateway.signing_key import KeyProblem, key_text

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey

__all__ = ["Seal", "Unsealed", "Unsealer", "check_sealed"]

_ALGORITHM, _ENCRYPTION = "ECDH-ES", "A256GCM"
_KIND = "gateway-sealed"
_CURVES = ("X25519", "P-256")
#: Names and values together; tokens are far smaller.
_MOST_CHARACTERS = 16 * 1024
#: Of the JWE: base64 of that and what is around it.
_MOST_SEALED = 3 * _MOST_CHARACTERS
#: Of the headers that a call may not set itself, those that a user's credentials go into.
_FOR_USERS = frozenset({"authorization", "cookie"})


class Unsealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is in a seal.

    Attributes:
        headers: names in lower case, and their values.
        caller, service, operation: of the only calls that it is for.
    """

    headers: dict[str, str]
    caller: str | None
    service: str
    operation: str

    def __repr__(self) -> str:
        return f"<Unsealed {', '.join(self.headers)} for {self.service}>"


class Seal:
    """Seals values for the workers.

    Args:
        reference: of their public key, `env:NAME` or `file:/path`: PEM or JWK, X25519 or P-256.
        environ: of this process.

    Raises:
        KeyProblem: there is no such key.
    """

    def __init__(self, reference: str, environ: Mapping[str, str]) -> None:
        self._key = _read(reference, environ)

    def close(self, values: Mapping[str, str], call: Call, caller: str | None) -> str:
        """The sealed values, for one call.

        Args:
            values: header names and values, checked by `check_sealed`.
            call: they go with it.
            caller: who asks.
        """
        from joserfc import jwe

        named = {name.lower(): value for name, value in values.items()}
        inside = Unsealed(headers=named, caller=caller, service=call.service, operation=call.operation)
        header = {"alg": _ALGORITHM, "enc": _ENCRYPTION, "typ": _KIND}
        return jwe.encrypt_compact(header, msgspec.json.encode(inside), self._key, algorithms=[_ALGORITHM, _ENCRYPTION])

    def __repr__(self) -> str:
        return f"<Seal {self._key.curve_name}>"


class Unsealer:
    """Opens seals, in the worker.

    Args:
        references: of the private keys, the newest first.
        environ: of this process.

    Raises:
        KeyProblem: there is no such key, or it is a public one.
    """

    def __init__(self, references: Sequence[str], environ: Mapping[str, str]) -> None:
        try:
            self._keys = [_read(reference, environ) for reference in references]
        except KeyProblem as problem:
            raise KeyProblem(f"sealing.private: {problem}") from None
        for reference, key in zip(references, self._keys, strict=True):
            if not key.is_private:
                raise KeyProblem(f"{reference}: is a public key, which opens nothing; set the private one")

    def open(self, sealed: str, call: Call, caller: str | None) -> Unsealed:
        """What a producer sealed for this call.

        Raises:
            ValueError: it cannot be opened, or is for another call; the message says nothing of what is in it.
        """
        inside = self._decrypt(sealed)
        if (inside.caller, inside.service, inside.operation) != (caller, call.service, call.operation):
            raise ValueError("what is sealed is for another call")
        return inside

    def _decrypt(self, sealed: str) -> Unsealed:
        from joserfc import jwe

        if not self._keys:
            raise ValueError("this worker has no key for what is sealed; set sealing.private in the catalogue")
        if len(sealed) > _MOST_SEALED:
            raise ValueError("what is sealed is too long")
        for key in self._keys:
            try:
                opened = jwe.decrypt_compact(sealed, key, algorithms=[_ALGORITHM, _ENCRYPTION])
                if opened.headers().get("typ") == _KIND and opened.plaintext is not None:
                    return msgspec.json.decode(opened.plaintext, type=Unsealed)
            except Exception:  # noqa: S112 - whatever the library raises for text that anybody may have written
                continue
        raise ValueError("what is sealed cannot be opened with this worker's keys")

    def __repr__(self) -> str:
        return f"<Unsealer {len(self._keys)} keys>"


def check_sealed(values: Any) -> None:
    """Refuse values that cannot be sent as headers.

    Raises:
        InvalidCallError: names the header, and never shows a value.
    """
    if not isinstance(values, Mapping) or not values:
        raise InvalidCallError.because("sealed", "it is no mapping of header names to values", "pass a dict of text")
    own = {name: value for name, value in values.items() if str(name).lower() in _FOR_USERS}
    headers.check(own, field="sealed", reserved=False)
    headers.check({name: value for name, value in values.items() if name not in own}, field="sealed")
    for name, value in values.items():
        if not value:
            raise InvalidCallError.because(f"sealed.{name}", "its value is empty", "leave it out")
    if sum(map(len, (*values, *values.values()))) > _MOST_CHARACTERS:
        raise InvalidCallError.because("sealed", f"it has over {_MOST_CHARACTERS} characters", "seal only credentials")


def _read(reference: str, environ: Mapping[str, str]) -> "OKPKey | ECKey":
    from joserfc.jwk import ECKey, OKPKey

    text = key_text(reference, environ).strip().replace("\\n", "\n")
    value: Any = text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in (OKPKey, ECKey):
            try:
                value = msgspec.json.decode(text) if text.startswith("{") else text
                key = kind.import_key(value)
                curve = key.curve_name
            except Exception:  # noqa: S112 - it is a key of the other kind, or none
                continue
            if curve in _CURVES:
                if key.is_private:
                    SECRETS.register_key(text)
                return key
    raise KeyProblem(
        f"{reference}: is not a key for sealing; make a pair with `openssl genpkey -algorithm x25519`, and its public"
        " half with `openssl pkey -pubout`"
    )
