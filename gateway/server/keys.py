"""The keys that a service accepts: more than one while a key is being replaced."""

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

__all__ = ["ServiceKeys", "ServiceKeysError"]

#: What no header value can carry (RFC 9110, section 5.5).
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ServiceKeysError(ValueError):
    """There is no key, or one that could never be accepted. Says which and what to do; never shows a key."""


class ServiceKeys:
    """The keys that a service accepts. Immutable.

    To replace a key without an interruption: give the service the old and the new one, give callers the new one, then
    take the old one away.

    Only digests are kept. So comparing takes the same time whatever the length of a key, and a memory dump, a debugger
    or an error reporter that prints variables shows none.

    Args:
        keys: the keys, of which any is accepted; text is taken as UTF-8.

    Raises:
        ServiceKeysError: there is no key, or one is empty or cannot be sent in a header.
        TypeError: `keys` is one string, or something in it is neither text nor bytes.
    """

    __slots__ = ("_digests",)

    def __init__(self, keys: Iterable[str | bytes]) -> None:
        if isinstance(keys, str | bytes | bytearray):
            raise TypeError("keys is one string, whose every character would be a key; pass [key]")
        self._digests = tuple({_digest(_checked(key, place)): None for place, key in enumerate(keys, start=1)})
        if not self._digests:
            raise ServiceKeysError("there is no service key; nobody could call this service, pass at least one key")

    @classmethod
    def load(cls, reference: str, environ: Mapping[str, str] | None = None) -> Self:
        """The keys that an environment variable or a file holds, separated by commas or newlines.

        Args:
            reference: `env:NAME`, `file:/path`, or just the `NAME` of an environment variable. The file is read once.
            environ: instead of the process's environment.

        Raises:
            ServiceKeysError: the reference is wrong, or there is nothing or an empty key behind it.
        """
        scheme, colon, rest = reference.partition(":")
        if colon and scheme == "file":
            try:
                text = Path(rest).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "it is not UTF-8 text"
                raise ServiceKeysError(f"the service keys of {reference!r} cannot be read: {why}") from None
            return cls._of_text(text, reference)
        name = rest if colon and scheme == "env" else reference
        if not _NAME.fullmatch(name):
            # The value is not shown: it may be the key itself.
            raise ServiceKeysError("this is not a reference to keys; write 'env:NAME' or 'file:/path', never the key")
        found = (os.environ if environ is None else environ).get(name)
        if found is None:
            raise ServiceKeysError(f"{name} is not set in the environment; set it to the key of this service")
        return cls._of_text(found, name)

    @classmethod
    def _of_text(cls, text: str, source: str) -> Self:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            return cls([key.strip() for line in lines for key in line.split(",")])
        except ServiceKeysError as error:
            raise ServiceKeysError(f"{source}: {error}") from None

    def accept(self, given: str | bytes | None) -> bool:
        """Whether this is one of the keys; compares with all of them, in constant time.

        Args:
            given: as it came from the wire, in any encoding; None where there was none.
        """
        if given is None:
            return False
        digest = _digest(_to_bytes(given))
        accepted = False
        for known in self._digests:
            accepted |= hmac.compare_digest(known, digest)
        return accepted

    def __len__(self) -> int:
        return len(self._digests)

    def __repr__(self) -> str:
        return f"<ServiceKeys {len(self)} key{'s' if len(self) > 1 else ''}>"


def _to_bytes(key: str | bytes) -> bytes:
    # `surrogatepass`: text from a lenient decoder must lead to "no", not to a UnicodeEncodeError.
    return key.encode("utf-8", "surrogatepass") if isinstance(key, str) else bytes(key)


def _checked(key: str | bytes, place: int) -> bytes:
    if not isinstance(key, str | bytes):
        raise TypeError(f"service key {place} is {type(key).__name__}, neither text nor bytes")
    raw = _to_bytes(key)
    if not raw.strip():
        raise ServiceKeysError(f"service key {place} is empty; remove it, or the comma beside it")
    if raw != raw.strip() or _CONTROL.search(raw):
        raise ServiceKeysError(
            f"service key {place} begins or ends with a space or has a control character, which no header can carry"
        )
    return raw


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
