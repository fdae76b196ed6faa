"""How the gateway shows a service who it is: one file a scheme, all of the type `Scheme`."""

from collections.abc import Mapping
from typing import Protocol

from gateway.service import AuthScheme
from workers.auth.service_key import ServiceKey

__all__ = ["Scheme", "make_scheme"]


class Scheme(Protocol):
    """Credentials of one service."""

    def headers(self) -> Mapping[str, str]:
        """What to add to an attempt, names in lower case; on gRPC as metadata."""
        ...


def make_scheme(settings: AuthScheme, environ: Mapping[str, str]) -> Scheme:
    """The scheme that the catalogue names.

    Raises:
        SecretError: its secret cannot be read.
    """
    # The catalogue has refused every other type already.
    return ServiceKey(settings, environ)
