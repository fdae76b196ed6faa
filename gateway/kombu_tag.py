"""What kombu's JSON decoder takes for one of its own types.

It rewrites, or fails on, every object whose keys are just `__type__` and `__value__`, whoever wrote it. What may hold
such
an object travels as JSON text instead.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["has_kombu_tag"]


def has_kombu_tag(value: Any) -> bool:
    """Whether there is such an object anywhere in a JSON value, however deep."""
    open_values = [value]
    while open_values:
        item = open_values.pop()
        if isinstance(item, Mapping):
            if "__type__" in item and "__value__" in item:
                return True
            open_values.extend(item.values())
        elif isinstance(item, list | tuple):
            open_values.extend(item)
    return False
