"""The places for calls under way on one transport, and the queue for them."""

import asyncio

__all__ = ["Permits"]


class Permits:
    """A bounded number of places, given out first come, first served.

    Who takes one gives it back, whatever happens; who is cancelled while waiting has taken none.

    Args:
        count: how many there are.

    Attributes:
        busy: places that are taken.
        waiting: who waits for one.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self.busy = 0
        self.waiting = 0

    async def take(self, bound_s: float | None) -> None:
        """Take a place, waiting for `bound_s` seconds at most; None: without a bound.

        Raises:
            TimeoutError: none came free.
        """
        if self._free.locked():
            self.waiting += 1
            try:
                async with asyncio.timeout(bound_s):
                    await self._free.acquire()
            finally:
                self.waiting -= 1
        else:
            await self._free.acquire()  # which does not wait
        self.busy += 1

    def give_back(self) -> None:
        """Give a place back, to who waits longest."""
        self.busy -= 1
        self._free.release()

    def __repr__(self) -> str:
        return f"<Permits {self.busy} busy, {self.waiting} waiting>"
