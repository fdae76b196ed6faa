"""Where the keys of sealed values are, as the catalogue says."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.catalogue_problem import explain
from gateway.secret_reference import REFERENCE

__all__ = ["SealingKeys", "read_sealing"]

#: While one replaces another: messages that were sealed for the older one are still under way.
_MOST_KEYS = 2
_KNOWN = ("public", "private")


class SealingKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[sealing]`.

    Attributes:
        public: the workers' public key, `env:NAME` or `file:/path`; producers seal for it.
        private: the workers' private keys: that of `public`, and, while it replaces another one, that one too.
    """

    public: str | None = None
    private: list[str] = []


def read_sealing(table: Mapping[str, Any], problems: list[str]) -> SealingKeys:
    """The keys of the table `[sealing]`; `problems` takes a line for what is wrong."""
    try:
        keys = msgspec.convert(dict(table), SealingKeys)
    except msgspec.ValidationError as error:
        problems.append(explain("sealing", table, error, _KNOWN))
        return SealingKeys()
    problems.extend(_problems(keys))
    return keys


def _problems(keys: SealingKeys) -> Iterator[str]:
    for key, reference in (("public", keys.public), *(("private", reference) for reference in keys.private)):
        if reference is not None and not REFERENCE.fullmatch(reference):
            yield f"sealing.{key}: is not a reference; write 'env:NAME' or 'file:/path', never the key itself"
    if len(keys.private) > _MOST_KEYS:
        yield f"sealing.private: has {len(keys.private)} keys; {_MOST_KEYS} are enough to replace one by another"
