"""What all calls have in common."""

import re
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from gateway.errors import InvalidCallError
from gateway.reference import Previous

__all__ = [
    "SERVICE_NAME",
    "BaseCall",
    "Scalar",
    "Value",
    "check_mapping",
    "check_service",
    "check_timeout",
    "keep_copy",
]

Scalar: TypeAlias = str | int | float | bool
Value: TypeAlias = Scalar | Previous

#: Also of the names in the catalogue.
SERVICE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)


class BaseCall(msgspec.Struct, frozen=True, tag_field="protocol", forbid_unknown_fields=True, omit_defaults=True):
    """What all calls have: the service comes first."""

    service: str


def keep_copy(call: BaseCall, field: str) -> None:
    """Replace a checked mapping of a call by a copy that the caller has no hand on."""
    copied = {
        name: list(value) if isinstance(value, tuple | list) else value for name, value in getattr(call, field).items()
    }
    msgspec.structs.force_setattr(call, field, copied)


def check_service(service: object) -> None:
    """Refuse what is not the name of a service; see `RestCall` for the error."""
    if not isinstance(service, str) or not SERVICE_NAME.fullmatch(service):
        raise InvalidCallError.because(
            "service",
            f"{service!r} is not the name of a service",
            "use the name from the catalogue, such as 'user-service' (a-z, 0-9, '.', '_', '-'), never a URL",
        )


def check_mapping(field: str, value: object) -> None:
    """Refuse what is not a mapping of strings; see `RestCall` for the error."""
    if not isinstance(value, Mapping):
        raise InvalidCallError.because(
            field, f"a mapping is needed, not {type(value).__name__}", f"pass {field}={{'name': value}}"
        )
    for name in value:
        if not isinstance(name, str):
            raise InvalidCallError.because(field, f"the name {name!r} is not a string", "use strings as names")


def check_timeout(seconds: object) -> None:
    """Refuse what is not a positive number of seconds, or None; see `RestCall` for the error."""
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e9:
        raise InvalidCallError.because(
            "attempt_timeout", f"{seconds!r} is not a positive number of seconds", "pass for example 2.5"
        )
