"""Every family of hostile inputs. A new one is a new file beside this one, with a list `CASES`."""

import importlib
import pkgutil
from collections import Counter
from typing import Any, TypeVar

from tests.hostile.case import Address, Call, HostileReply, Message, Signature

__all__ = ["cases", "count"]

_Kind = TypeVar("_Kind", Call, Message, Address, HostileReply, Signature)


def _all() -> list[Any]:
    found: list[Any] = []
    for module in sorted(each.name for each in pkgutil.iter_modules(__path__)):
        found += importlib.import_module(f"{__name__}.{module}").CASES
    return found


def cases(kind: type[_Kind]) -> list[_Kind]:
    """All inputs of one kind."""
    return [case for case in _all() if isinstance(case, kind)]


def count() -> Counter[str]:
    """How many distinct inputs each family has. One that two families have counts once."""
    seen: set[str] = set()
    counted: Counter[str] = Counter()
    for case in _all():
        if case.text not in seen:
            seen.add(case.text)
            counted[case.family] += 1
    return counted
