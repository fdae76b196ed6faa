"""Several looks at once, within a time: one that hangs holds nobody up."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["together"]

_T = TypeVar("_T")


def together(looks: Sequence[Callable[[], _T]], *, within_s: float) -> list[_T | None]:
    """What each look gave, in their order; None of one that did not end in time.

    Args:
        looks: run in a thread each, which is left behind where it takes too long.
        within_s: seconds for all of them.

    Raises:
        Exception: what one of them raised.
    """
    given: dict[int, _T] = {}
    raised: list[Exception] = []

    def run(number: int) -> None:
        try:
            given[number] = looks[number]()
        except Exception as error:
            raised.append(error)

    ends_at = time.monotonic() + within_s
    threads = [
        threading.Thread(target=run, args=(number,), name="gateway-check", daemon=True) for number in range(len(looks))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends_at - time.monotonic()))
    if raised:
        raise raised[0]
    return [given.get(number) for number in range(len(looks))]
