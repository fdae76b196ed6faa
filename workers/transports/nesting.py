"""How deep a reply may nest."""

from typing import Any

from gateway.plain_json import MAX_DEPTH

__all__ = ["is_too_deep"]

#: And what derives from them: protobuf makes an `OrderedDict` of an `Any`.
_CONTAINERS = (dict, list)


def is_too_deep(value: Any) -> bool:
    """Whether lists and dicts go deeper than `MAX_DEPTH` in a value that a parser made.

    What is on the way to the caller recurses (encoders, copies, pickles), and a parser may go deeper than they do. This
    looks at one level after the other, so it does not recurse itself.
    """
    level = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, _CONTAINERS)
        ]
    return bool(level)
