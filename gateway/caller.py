"""A caller, as the catalogue describes it: who may enqueue calls, how it proves to be that, and what it may call."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from gateway.catalogue_problem import explain
from gateway.permission import Rule
from gateway.secret_reference import REFERENCE
from gateway.signing_key import KeyProblem, SigningKey, read_key

__all__ = ["Caller", "read_caller", "secrets_of"]

#: While one key replaces another.
_MOST_KEYS = 2
_KNOWN = ("key", "keys", "allow")


class Caller(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of `[callers]`.

    Attributes:
        key: where the key is that its calls are signed with, `env:NAME` or `file:/path`: the secret of an HMAC, or an
            Ed25519 key, of which the public half is enough.
        keys: two of them, in the place of `key`, while one replaces the other.
        allow: lines of `gateway.permission`; without one it may call nothing.
    """

    key: str | None = None
    keys: list[str] = []
    allow: list[str] = []

    @property
    def references(self) -> list[str]:
        """Of all its keys."""
        return self.keys if self.key is None else [self.key]


def read_caller(name: str, table: Any, problems: list[str]) -> Caller | None:
    """The caller of a table of `[callers]`; None if something is wrong with it, which `problems` takes a line of.

    Args:
        name: its key in `[callers]`.
        table: what is written there.
        problems: takes a line for what is wrong.
    """
    key = f"callers.{name}"
    try:
        caller = msgspec.convert(table, Caller)
    except msgspec.ValidationError as error:
        problems.append(explain(key, table, error, _KNOWN))
        return None
    found = [*_key_problems(key, caller), *_rule_problems(key, caller)]
    problems.extend(found)
    return None if found else caller


def secrets_of(callers: Mapping[str, Caller], environ: Mapping[str, str]) -> dict[str, SigningKey]:
    """The keys of callers that can be had here and can sign: secrets, which are where workers are."""
    found = {}
    for name, caller in callers.items():
        with suppress(KeyProblem):
            key = read_key(caller.references[0], environ)
            if key.can_sign:
                found[name] = key
    return found


def _key_problems(key: str, caller: Caller) -> Iterator[str]:
    if caller.key is not None and caller.keys:
        yield f"{key}: has key and keys; keep one of them"
    elif not caller.references:
        yield f"{key}: lacks 'key'; add it, such as key = \"env:ORDERS_GATEWAY_KEY\""
    elif len(caller.references) > _MOST_KEYS:
        yield f"{key}.keys: has {len(caller.references)} keys; {_MOST_KEYS} are enough to replace one by another"
    for reference in caller.references:
        if not REFERENCE.fullmatch(reference):
            # The value is not shown: it may be the key itself.
            yield f"{key}.key: is not a reference; write 'env:NAME' or 'file:/path', never the key itself"


def _rule_problems(key: str, caller: Caller) -> Iterator[str]:
    for line in caller.allow:
        try:
            Rule.parse(line)
        except ValueError as error:
            yield f"{key}.allow: {line!r}: {error}"
