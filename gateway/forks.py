"""What a forked child makes anew. Threads, locks, event loops and connections of its parent are of no use to it.

A child must leave its parent's connections alone: nothing may be sent, shut down or unregistered through them.
"""

import os
import weakref
from typing import Protocol

__all__ = ["renew_in_children"]


class _Renewable(Protocol):
    def renew_after_fork(self) -> None: ...


_living: "weakref.WeakSet[_Renewable]" = weakref.WeakSet()


def renew_in_children(thing: _Renewable) -> None:
    """Have `thing.renew_after_fork()` called in every forked child, before anything else runs there."""
    _living.add(thing)


def _renew_all() -> None:
    for thing in list(_living):
        thing.renew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
