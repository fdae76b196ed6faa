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
        self._secret = Secret(settings.secret, environ, for_header=False)
        self._version = self._secret.version
        self._key, self._algorithm = _read(self._secret, settings.algorithm)
        self._sign({})

    async def credentials(self, asked: Asked) -> Credentials:
        """See `Scheme`."""
        self._secret.reveal()
        if self._secret.version != self._version:
            self._key, self._algorithm = _read(self._secret, self._settings.algorithm)
            self._version = self._secret.version
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
        token = self._sign(claims)
        return Credentials({"authorization": f"Bearer {token}"}, own=(token,))

    async def refused(self, credentials: Credentials, asked: Asked) -> bool:
        """A new one would say the same."""
        return False

    def _sign(self, claims: Mapping[str, Any]) -> str:
        from joserfc import jws

        header = {"alg": self._algorithm, "typ": "JWT"}
        with warnings.catch_warnings():
            # It prefers the name of RFC 9864, which few services know yet.
            warnings.simplefilter("ignore")
            try:
                return jws.serialize_compact(header, json.dumps(claims), self._key, algorithms=[self._algorithm])
            except Exception as error:  # of the library and those below it, for a key that does not fit
                raise SecretError(
                    f"{self._secret.reference}: cannot sign with {self._algorithm} ({type(error).__name__}); use a key"
                    " of that kind, or another `algorithm`"
                ) from None

    def __repr__(self) -> str:
        return f"<Jwt {self._algorithm} for {self._audience} {self._secret!r}>"


def _read(secret: Secret, wanted: str) -> tuple[Any, str]:
    """The key, and the algorithm that fits it."""
    from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

    text = secret.reveal().replace("\\n", "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not text.startswith(("-----BEGIN", "{")):
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
    raise SecretError(f"{secret.reference}: is not a private key; use Ed25519, P-256, RSA, or the secret of an HMAC")
