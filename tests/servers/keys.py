"""Keys, made for a test."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

__all__ = ["sealing_pair", "signing_pair"]


def _pair(key: Ed25519PrivateKey | X25519PrivateKey) -> tuple[str, str]:
    """The private and the public half, each as PEM."""
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def signing_pair() -> tuple[str, str]:
    """An Ed25519 pair."""
    return _pair(Ed25519PrivateKey.generate())


def sealing_pair() -> tuple[str, str]:
    """An X25519 pair."""
    return _pair(X25519PrivateKey.generate())
