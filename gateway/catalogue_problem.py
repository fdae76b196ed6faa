"""A mistake in the catalogue, as one line for people: key, value, why, and the cure."""

import re
from difflib import get_close_matches
from typing import Any

import msgspec

from gateway import policy, service
from gateway.auth_scheme import AuthScheme
from gateway.network import Network
from gateway.policy import SECTIONS
from gateway.service import Service
from gateway.tls import Tls

__all__ = ["DERIVED", "explain", "service_keys", "unknown_key"]

_AT = re.compile(r" - at `\$\.?(?P<place>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
#: Fields of a service that its table in the file does not have.
DERIVED = ("name", "policy", "operation_policies", "tables")


def unknown_key(place: str, key: str, known: tuple[str, ...]) -> str:
    """A key that the file may not have, with the one that was probably meant."""
    near = get_close_matches(key, known, n=1)
    cure = f"did you mean {near[0]!r}?" if near else f"it can have {', '.join(known)}"
    return f"{place}.{key}: is not a key; {cure}".removeprefix(".")


def explain(place: str, table: Any, error: Exception, known: tuple[str, ...] | None = None) -> str:
    """One line for a value that does not fit: key, value, why, and the cure where it is not the why itself.

    Args:
        place: the key of the table.
        table: what is written there.
        error: of the conversion.
        known: keys that the table may have; None: those of a service.
    """
    text = str(error)
    at = _AT.search(text)
    why = _AT.sub("", text)
    inner = at["place"] if at else ""
    key = f"{place}.{inner}".rstrip(".")
    unknown = _UNKNOWN.search(why)
    if unknown:
        section = inner.split(".")[-1] if inner else ""
        return unknown_key(key, unknown["name"], _known_keys(section) or known or service_keys())
    lacks = _MISSING.search(why)
    if lacks:
        return f"{key}: lacks {lacks['name']!r}; add it"
    value = _dig(table, inner)
    shown = (
        ""
        if value is None or isinstance(value, dict) or "secret" in key or "key" in key.split(".")[-1:]
        else f" = {value!r}"
    )
    # Our own explanations have a semicolon before their cure.
    return f"{key}{shown}: {why[:1].lower() + why[1:]}" + ("" if ";" in why else "; correct it")


def service_keys() -> tuple[str, ...]:
    """What the table of a service may have."""
    return tuple(name for name in Service.__struct_fields__ if name not in DERIVED) + SECTIONS


def _known_keys(section: str) -> tuple[str, ...]:
    tables: dict[str, type[msgspec.Struct]] = {
        "timeouts": policy.Timeouts,
        "retry": policy.Retry,
        "breaker": policy.Breaker,
        "limit": policy.Limit,
        "hedge": policy.Hedge,
        "connections": policy.Connections,
        "reply": policy.ReplyBounds,
        "rest": service.RestEndpoint,
        "graphql": service.GraphQLEndpoint,
        "grpc": service.GrpcEndpoint,
        "auth": AuthScheme,
        "network": Network,
        "tls": Tls,
        "interceptors": service.Interceptors,
    }
    table = tables.get(section)
    return () if table is None else tuple(table.__struct_fields__)


def _dig(table: Any, place: str) -> Any:
    for step in place.split(".") if place else ():
        if not isinstance(table, dict) or step not in table:
            return None
        table = table[step]
    return table
