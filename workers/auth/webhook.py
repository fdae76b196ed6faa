"""Requests that are signed with their bodies, as Standard Webhooks has it (specification 1.0.0, "Signature scheme")."""

import base64
import binascii
import hmac
import time
from collections.abc import Callable, Mapping
from functools import partial

from gateway.auth_scheme import AuthScheme
from gateway.redaction import SECRETS
from workers.auth.scheme import Asked, Credentials
from workers.secret import Secret, SecretError

__all__ = ["Webhook"]

_PREFIX = "whsec_"
#: The specification's bounds of a secret, in bytes.
_BOUNDS = range(24, 65)


class Webhook:
    """Signs `id.timestamp.body` with HMAC-SHA-256; one signature for each secret.

    Args:
        settings: of the catalogue.
        environ: where the secrets are: `whsec_` and base64.
        clock: Unix time in seconds.

    Raises:
        SecretError: a secret is missing or not of that form.
    """

    names = frozenset({"webhook-id", "webhook-timestamp", "webhook-signature"})

    def __init__(
        self, settings: AuthScheme, environ: Mapping[str, str], clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._secrets = [
            Secret(reference, environ, usable=partial(_key, reference)) for reference in settings.references
        ]

    async def credentials(self, asked: Asked) -> Credentials:
        """See `Scheme`. All attempts of a call have one id, so that a service can drop what it has seen."""
        keys = [_key(secret.reference, secret.reveal()) for secret in self._secrets]
        message_id, timestamp = asked.call_id, str(int(self._clock()))

        def sign(body: bytes) -> Mapping[str, str]:
            signed = f"{message_id}.{timestamp}.".encode() + body
            macs = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
            return {
                "webhook-id": message_id,
                "webhook-timestamp": timestamp,
                "webhook-signature": " ".join(f"v1,{mac}" for mac in macs),
            }

        return Credentials({}, sign)

    async def refused(self, credentials: Credentials, asked: Asked) -> bool:
        """A new one would say the same."""
        return False

    def __repr__(self) -> str:
        return f"<Webhook {self._secrets!r}>"


def _key(reference: str, text: str) -> bytes:
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_PREFIX) or len(key) not in _BOUNDS:
        raise SecretError(f"{reference}: is not 'whsec_' and the base64 of {_BOUNDS[0]} to {_BOUNDS[-1]} random bytes")
    SECRETS.register(text.removeprefix(_PREFIX))
    return key
