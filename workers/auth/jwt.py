"""A token that the gateway itself signs for each request: short-lived, for one service, with who asked the gateway."""

import json
import secrets
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from gateway.auth_scheme import AuthScheme
from workers.auth.scheme import Asked, Credentials
from workers.secret import Secret, SecretError

__all__ = ["Jwt"]

#: By the curve of an elliptic key.
_OF_CURVE = {"Ed25519": "EdDSA", "P-256": "ES256", "P-384": "ES384"}


class Jwt:
    """Signs a JWT (RFC 7519) for each request.

    Claims: `iss`, `aud` (the service, unless the catalogue says otherwise), `sub` (the caller; absent if nobody said),
    `iat`, `exp`, `jti`, `correlation_id`.

    Args:
        settings: of the catalogue.
        environ: where the key is: the secret of an HMAC, or a private key as PEM or JWK.
        service: its name.
        clock: Unix time in seconds.

    Raises:
        SecretError: there is no key, or it cannot sign with the algorithm that is asked for.
    """

    names = frozenset({"authorization"})

    def __init__(
        self,
        settings: AuthScheme,
        environ: Mapping[str, str],
        service: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._audience = settings.audience or service
        self._clock = clock
        self._is_hmac: bool | None = None
        self._secret = Secret(settings.secret, environ, for_header=False, usable=self._take)
        self._is_hmac = self._algorithm.startswith("HS")

    def _take(self, text: str) -> None:
        """Use this key from now on, if it signs, and is of the kind of the one before: a file may be half written."""
        reference = self._settings.secret
        key, algorithm = _read(reference, text, self._settings.algorithm)
        if self._is_hmac is not None and algorithm.startswith("HS") is not self._is_hmac:
            raise SecretError(f"{reference}: has a key of another kind; start the worker again if that is meant")
        _sign(reference, key, algorithm, {})
        self._key, self._algorithm = key, algorithm

    async def credentials(self, asked: Asked) -> Credentials:
        """See `Scheme`."""
        # Takes up a new one, if there is.
        self._secret.reveal()
        now = int(self._clock())
        claims: dict[str, Any] = {
            "iss": self._settings.issuer,
            "aud": self._audience,
            "iat": now,
            "exp": now + int(self._settings.ttl),
            "jti": secrets.token_urlsafe(12),
            "correlation_id": asked.correlation_id,
        }
        if asked.caller is not None:
            claims["sub"] = asked.caller
        token = _sign(self._settings.secret, self._key, self._algorithm, claims)
        return Credentials({"authorization": f"Bearer {token}"}, own=(token,))

    async def refused(self, credentials: Credentials, asked: Asked) -> bool:
        """A new one would say the same."""
        return False

    def __repr__(self) -> str:
        return f"<Jwt {self._algorithm} for {self._audience} {self._secret!r}>"


def _sign(reference: str, key: Any, algorithm: str, claims: Mapping[str, Any]) -> str:
    from joserfc import jws

    header = {"alg": algorithm, "typ": "JWT"}
    with warnings.catch_warnings():
        # It prefers the name of RFC 9864, which few services know yet.
        warnings.simplefilter("ignore")
        try:
            return jws.serialize_compact(header, json.dumps(claims), key, algorithms=[algorithm])
        except Exception as error:  # of the library and those below it, for a key that does not fit
            raise SecretError(
                f"{reference}: cannot sign with {algorithm} ({type(error).__name__}); use a key of its kind, or another"
                " `algorithm`"
            ) from None


def _read(reference: str, written: str, wanted: str) -> tuple[Any, str]:
    """The key, and the algorithm that fits it."""
    from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

    text = written.replace("\\n", "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # What begins like a key and is none is half of one, and no secret of an HMAC.
        if not text.startswith(("-", "{")):
            return OctKey.import_key(text.encode()), wanted or "HS256"
        for kind in (OKPKey, ECKey, RSAKey):
            try:
                value: Any = json.loads(text) if text.startswith("{") else text
                key = kind.import_key(value)
                curve = getattr(key, "curve_name", "")
            except Exception:  # noqa: S112 - it is a key of another kind, or none
                continue
            if key.is_private:
                return key, wanted or _OF_CURVE.get(curve, "RS256")
    raise SecretError(f"{reference}: is not a private key; use Ed25519, P-256, RSA, or the secret of an HMAC")
