"""Which Python values are JSON, and nothing else."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from gateway.errors import InvalidCallError
from gateway.reference import Previous

__all__ = ["MAX_DEPTH", "check_plain_json", "has_kombu_tag"]

#: Deeper values are refused: parsers on the way recurse.
MAX_DEPTH = 100


def check_plain_json(value: Any, *, field: str) -> None:
    """Refuse a value that JSON (RFC 8259) does not have.

    Kombu's encoder would accept dates, UUIDs and more in a form of its own that no other reader knows.

    Raises:
        InvalidCallError: names the place and the cure.
    """
    _check(value, field, 0)


def _check(value: Any, field: str, depth: int) -> None:
    if value is None or value is True or value is False or isinstance(value, int | Previous):
        return
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                _refuse(
                    field, "a string that is not valid Unicode (a lone surrogate)", "pass text that UTF-8 can encode"
                )
        return
    if isinstance(value, float):
        if not isfinite(value):
            _refuse(field, f"{value!r}, which JSON does not have", "pass a finite number, a string or None")
        return
    if depth >= MAX_DEPTH:
        _refuse(field[:60], f"nested deeper than {MAX_DEPTH} levels", "pass a flatter value")
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                _refuse(field, f"the key {name!r}, which is not a string", "use strings as keys")
            _check(name, field, depth + 1)
            _check(item, f"{field}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _check(item, f"{field}[{position}]", depth + 1)
    else:
        _refuse(
            field, f"a {type(value).__name__}, which is not JSON", "convert it to text, numbers, lists and dicts first"
        )


def _refuse(field: str, what: str, cure: str) -> None:
    raise InvalidCallError(f"{field}: has {what}; {cure}", field=field, cure=cure)


def has_kombu_tag(value: Any) -> bool:
    """Whether kombu's JSON decoder would take an object in this value for one of its own types.

    It rewrites, or fails on, every object whose keys are just `__type__` and `__value__`.
    """
    if isinstance(value, Mapping):
        return ("__type__" in value and "__value__" in value) or any(has_kombu_tag(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_kombu_tag(item) for item in value)
    return False
