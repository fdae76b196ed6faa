"""A place in a call that the result of the step before it fills in: for chains and chords."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UnsetType

from gateway.errors import InvalidCallError

__all__ = ["KEY", "Previous", "fill", "looks_like_reference", "previous", "uses_previous"]

#: What a reference is on the wire: an object with this one key.
KEY = "$previous"


class Previous(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reference into the result of the step before; see `previous`."""

    at: str = msgspec.field(name=KEY)


def previous(at: str) -> Any:
    """A value that is taken from the result of the step before when the call runs.

    Usable in a signature's path, query, form, JSON body, gRPC request and GraphQL variables.

    Args:
        at: the way to the value, names and list indexes with dots between: `"data.user.id"`, and `"0.data.id"` for the
            first result of a group in a chord. A reply has the names of `gateway.Reply`; an empty string is all of it.
    """
    if not isinstance(at, str):
        raise InvalidCallError.because("previous", f"{at!r} is not a way to a value", "pass text, as in 'data.user.id'")
    return Previous(at)


def uses_previous(value: object) -> bool:
    """Whether there is a reference anywhere in a value, or in a call's fields."""
    # Asked of every value of every call: the most common types first, and no `match`, which asks one after the other.
    if value is None or isinstance(value, str | int | float | UnsetType):
        return False
    if isinstance(value, Previous):
        return True
    if isinstance(value, dict | Mapping):
        return bool(value) and any(map(uses_previous, value.values()))
    if isinstance(value, list | tuple):
        return any(map(uses_previous, value))
    if isinstance(value, msgspec.Struct):
        return any(uses_previous(getattr(value, name)) for name in value.__struct_fields__)
    return False


def looks_like_reference(value: object) -> bool:
    """Whether data anywhere in a value, or in a call's fields, would be taken for a reference on the wire."""
    match value:
        case Previous():
            return False
        case msgspec.Struct():
            return any(looks_like_reference(getattr(value, name)) for name in value.__struct_fields__)
        case Mapping():
            return (len(value) == 1 and KEY in value) or any(looks_like_reference(item) for item in value.values())
        case list() | tuple():
            return any(looks_like_reference(item) for item in value)
        case _:
            return False


def fill(wire: Any, result: Any) -> Any:
    """A call on the wire with every reference replaced by what it points to.

    Raises:
        InvalidCallError: the result has nothing there.
    """
    match wire:
        case {"$previous": str(at)} if len(wire) == 1:
            return _look_up(result, at)
        case Mapping():
            return {name: fill(item, result) for name, item in wire.items()}
        case list() | tuple():
            return [fill(item, result) for item in wire]
        case _:
            return wire


def _look_up(result: Any, at: str) -> Any:
    value = result
    for step in at.split(".") if at else ():
        try:
            in_list = isinstance(value, Sequence) and not isinstance(value, str)
            value = value[int(step)] if in_list else value[step]
        except (LookupError, TypeError, ValueError):
            raise InvalidCallError.because(
                "previous",
                f"the result of the step before has nothing at {at!r} (no {step!r})",
                "correct the way, or look at what the step before returns",
            ) from None
    return value
