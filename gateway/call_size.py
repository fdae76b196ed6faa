"""How large a call may be on its way."""

from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_CALL_BYTES", "MAX_MESSAGE_BYTES", "is_larger"]

#: Of a call, encoded: what is larger belongs in a store, and its address in the call.
MAX_CALL_BYTES = 8 * 1024 * 1024
#: Of a whole message. A chain or a chord puts the results of the steps before beside the call.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
#: What a number, a constant or a container takes at least, roughly. It also bounds how many of them are looked at.
_LEAST = 4


def is_larger(value: Any, most: int) -> bool:
    """Whether JSON data is larger than `most` bytes, about; it looks no further than that, and does not recurse."""
    left = most
    waiting = [value]
    while waiting:
        item = waiting.pop()
        left -= _LEAST
        if isinstance(item, str):
            left -= len(item)
        elif isinstance(item, Mapping):
            left -= sum(len(name) + _LEAST for name in item if isinstance(name, str))
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, int):
            left -= item.bit_length() >> 2
        if left < 0 or len(waiting) * _LEAST > most:
            return True
    return False
