"""How many calls the gateway refused, by caller and reason: counted for the whole fleet."""

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from typing import Any

from gateway.errors import CallRejectedError, ServiceError
from gateway.rejected import KEY, NOBODY

__all__ = ["Rejections"]

_log = logging.getLogger("gateway.callers")

#: Seconds between two reports: a flood of forged messages is one number.
_EVERY_S = 0.5


class Rejections:
    """Belongs to one event loop.

    Args:
        client: an asyncio client of the Redis that holds the fleet's state.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._new: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    def count(self, error: ServiceError) -> None:
        """Count an error, if it is a rejection."""
        if not isinstance(error, CallRejectedError):
            return
        details = error.details if isinstance(error.details, dict) else {}
        caller, reason = details.get("caller") or NOBODY, details.get("reason") or "other"
        self._new[f"{caller} {reason}"] += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._report())

    async def close(self) -> None:
        """Report what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        with suppress(Exception):  # the store is away, and the worker ends
            await self._tell()

    async def _report(self) -> None:
        try:
            while self._new:
                await asyncio.sleep(_EVERY_S)
                try:
                    await self._tell()
                except Exception as error:  # of the store: the next round tries again
                    _log.debug("rejections are not reported yet (%s)", type(error).__name__)
        finally:
            self._task = None

    async def _tell(self) -> None:
        told, self._new = self._new, Counter()
        if not told:
            return
        try:
            async with asyncio.timeout(2.0), self._client.pipeline(transaction=False) as pipe:
                for field, number in told.items():
                    pipe.hincrby(KEY, field, number)
                await pipe.execute()
        except BaseException:
            self._new.update(told)
            raise
