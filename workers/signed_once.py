"""Signatures that are good for one call: the steps of chains that were signed before anybody knew their ids."""

import asyncio
from typing import Any

from gateway.errors import DeadlineExceededError, Delivery
from gateway.outcome import Failure
from gateway.redis_client import ERRORS
from gateway.signing import STEP_S
from workers.callers import rejection
from workers.execution import Execution

__all__ = ["SignedOnce"]

_AGAIN_S = 0.5


class SignedOnce:
    """Remembers, for the fleet, which call a signature came with first.

    Args:
        client: an asyncio client of the Redis that holds the fleet's state.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    async def refuse(self, execution: Execution) -> Failure | None:
        """Why a call may not go on; None: it may. While the store is away the call waits, until its deadline."""
        claims = execution.claims
        if claims is None or claims.jti is None:
            return None
        while execution.left_s > 0:
            try:
                first = await self._first(claims.jti, execution.call_id)
            except ERRORS:  # TimeoutError is an OSError
                await asyncio.sleep(min(_AGAIN_S, max(0.0, execution.left_s)))
                continue
            if first == execution.call_id:
                return None
            error = rejection("replayed", f"its signature was used for call {first}", claims.iss)
            return Failure(error=type(error), message=error.message, delivery=Delivery.NOT_SENT, details=error.details)
        return Failure(
            error=DeadlineExceededError,
            message="its deadline passed before the store could tell whether its signature was used before",
            delivery=Delivery.NOT_SENT,
            extra={"phase": "deadline"},
        )

    async def _first(self, jti: str, call_id: str) -> str:
        key = f"gateway:signed:{jti}"
        async with asyncio.timeout(2.0):
            if await self._client.set(key, call_id, nx=True, ex=STEP_S + 3600):
                return call_id
            held = await self._client.get(key)
        return held.decode() if isinstance(held, bytes) else str(held)
