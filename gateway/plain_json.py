"""Which Python values are JSON, and nothing else."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from gateway.errors import InvalidCallError
from gateway.reference import Previous

__all__ = ["MAX_BITS", "MAX_DEPTH", "check_plain_json"]

#: Deeper values are refused: parsers on the way recurse.
MAX_DEPTH = 100
#: Python refuses to write longer integers as text (`sys.get_int_max_str_digits`).
MAX_BITS = 14_000


def check_plain_json(value: Any, *, field: str) -> Any:
    """A copy of a value that is JSON (RFC 8259), so that what the caller does with its own changes nothing.

    Kombu's encoder would accept dates, UUIDs and more in a form of its own that no other reader knows.

    Raises:
        InvalidCallError: the value is not JSON; names the place and the cure.
    """
    return _copy(value, field, 0)


def _copy(value: Any, field: str, depth: int) -> Any:
    if value is None or value is True or value is False or isinstance(value, Previous):
        return value
    if isinstance(value, str):
        return _text(value, field)
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise InvalidCallError.because(field, f"an integer of more than {MAX_BITS} bits", "pass it as a string")
        return value
    if isinstance(value, float):
        if not isfinite(value):
            raise InvalidCallError.because(field, f"{value!r} is not in JSON", "pass a finite number, a string or None")
        return value
    if depth >= MAX_DEPTH:
        raise InvalidCallError.because(field[:60], f"nested deeper than {MAX_DEPTH} levels", "pass a flatter value")
    if isinstance(value, Mapping):
        return _object(value, field, depth)
    if isinstance(value, list | tuple):
        return [_copy(item, f"{field}[{position}]", depth + 1) for position, item in enumerate(value)]
    raise InvalidCallError.because(
        field, f"a {type(value).__name__} is not JSON", "convert it to text, numbers, lists and dicts first"
    )


def _object(value: Mapping[Any, Any], field: str, depth: int) -> dict[str, Any]:
    copied = {}
    for name, item in value.items():
        if not isinstance(name, str):
            raise InvalidCallError.because(field, f"the key {name!r} is not a string", "use strings as keys")
        copied[_text(name, field)] = _copy(item, f"{field}.{name}", depth + 1)
    return copied


def _text(value: str, field: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidCallError.because(
                field, "a string that is not valid Unicode (a lone surrogate)", "pass text that UTF-8 can encode"
            ) from None
    return str(value)
