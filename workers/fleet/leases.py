"""The leases of the calls that this worker runs: renewed until the call is over."""

import asyncio
import logging
from time import monotonic
from typing import Any

import msgspec

from gateway.records import GRACE_S, RESULT_EXPIRES_S
from workers.fleet.script import Script

__all__ = ["Leases"]

_log = logging.getLogger("gateway.leases")

_PATIENCE_S = 2.0
_MOST = 500


class Leases:
    """Belongs to one event loop.

    Args:
        client: of the Redis that holds the records of calls.
        lease_s: how long a lease lasts; a third of that is the time between two renewals.
    """

    def __init__(self, client: Any, *, lease_s: float) -> None:
        self._client = client
        self._lease_s = lease_s
        self._script = Script("renew.lua")
        self._held: dict[tuple[str, int], float] = {}
        self._lost: set[tuple[str, int]] = set()
        self._task: asyncio.Task[None] | None = None

    def hold(self, call_id: str, token: int) -> None:
        """A call is this worker's from now on."""
        self._held[call_id, token] = monotonic()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._renew())

    def release(self, call_id: str, token: int) -> None:
        """It is no more. On any thread, unlike all else here."""
        self._held.pop((call_id, token), None)
        self._lost.discard((call_id, token))

    def is_lost(self, call_id: str, token: int) -> bool:
        """Whether another worker has taken the call over."""
        return (call_id, token) in self._lost

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            since = monotonic() - self._lease_s / 3
            old = [held for held, began in tuple(self._held.items()) if began <= since]
            for start in range(0, len(old), _MOST):
                await self._renew_some(old[start : start + _MOST])

    async def _renew_some(self, held: list[tuple[str, int]]) -> None:
        request = {
            "now": 0,
            "lease_s": self._lease_s,
            "expires_s": RESULT_EXPIRES_S + GRACE_S,
            "calls": held,
        }
        try:
            async with asyncio.timeout(_PATIENCE_S):
                lost = set(msgspec.json.decode(await self._script.run(self._client, msgspec.json.encode(request))))
        except Exception as error:  # of the store, or a defect: the next round tries again
            _log.warning("the leases of %d calls cannot be renewed (%s)", len(held), type(error).__name__)
            return
        for call_id, token in held:
            if call_id in lost and self._held.pop((call_id, token), None) is not None:
                self._lost.add((call_id, token))
                _log.error("call %s: its lease was lost, and another worker has it", call_id)

    async def close(self) -> None:
        """Renew no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
