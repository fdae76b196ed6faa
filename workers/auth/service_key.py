"""The service key: one shared secret in a header, `x-service-auth` unless the catalogue says otherwise."""

from collections.abc import Mapping

from gateway.service import AuthScheme
from workers.secret import Secret

__all__ = ["ServiceKey"]


class ServiceKey:
    """Sends the secret in a header."""

    def __init__(self, settings: AuthScheme, environ: Mapping[str, str]) -> None:
        self._header = settings.header.lower()
        self._secret = Secret(settings.secret, environ)

    def headers(self) -> Mapping[str, str]:
        """See `Scheme.headers`."""
        return {self._header: self._secret.reveal()}
