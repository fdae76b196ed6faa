"""How long the loop stands still while something runs."""

import asyncio
from time import monotonic
from typing import Self

__all__ = ["Stillness"]


class Stillness:
    """Watches the running loop; `async with` is how long.

    Attributes:
        longest_s: the longest time in which the loop gave nobody a turn.
        took_s: all the time.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.took_s = 0.0

    async def __aenter__(self) -> Self:
        self._began = self._last = monotonic()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._turn()
        self.took_s = self._last - self._began
        self._watching.cancel()

    async def _watch(self) -> None:
        while True:
            self._turn()
            await asyncio.sleep(0.005)

    def _turn(self) -> None:
        now = monotonic()
        self.longest_s, self._last = max(self.longest_s, now - self._last), now
