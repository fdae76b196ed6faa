"""Schemes that send a secret as it is: the service key, a bearer token, user and password."""

from base64 import b64encode
from collections.abc import Callable, Mapping

from gateway.auth_scheme import AuthScheme
from gateway.redaction import SECRETS
from workers.auth.scheme import Asked, Credentials
from workers.secret import Secret

__all__ = ["Fixed", "basic", "bearer", "service_key"]


class Fixed:
    """One header with one secret.

    Args:
        header: its name.
        secret: what it is made of.
        value: makes the header's value of the secret.
    """

    def __init__(self, header: str, secret: Secret, value: Callable[[str], str]) -> None:
        self.names = frozenset({header})
        self._header, self._secret, self._value = header, secret, value
        self._version = -1
        self._made = Credentials({})

    async def credentials(self, asked: Asked) -> Credentials:
        """See `Scheme`."""
        secret = self._secret.reveal()
        if self._secret.version != self._version:
            self._made = Credentials({self._header: self._value(secret)})
            self._version = self._secret.version
        return self._made

    async def refused(self, credentials: Credentials, asked: Asked) -> bool:
        """If there is another one by now."""
        return await self.credentials(asked) != credentials

    def __repr__(self) -> str:
        return f"<Fixed {self._header} {self._secret!r}>"


def service_key(settings: AuthScheme, environ: Mapping[str, str]) -> Fixed:
    """One shared secret in a header, `x-service-auth` unless the catalogue says otherwise."""
    return Fixed(settings.header.lower(), Secret(settings.secret, environ), lambda secret: secret)


def bearer(settings: AuthScheme, environ: Mapping[str, str]) -> Fixed:
    """A token (RFC 6750, section 2.1)."""
    return Fixed("authorization", Secret(settings.secret, environ), lambda token: f"Bearer {token}")


def basic(settings: AuthScheme, environ: Mapping[str, str]) -> Fixed:
    """User and password (RFC 7617)."""

    def value(password: str) -> str:
        both = b64encode(f"{settings.user}:{password}".encode()).decode()
        SECRETS.register(both)
        return f"Basic {both}"

    return Fixed("authorization", Secret(settings.secret, environ), value)
