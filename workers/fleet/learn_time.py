"""What time it is in the fleet, before the first deadline is read; later answers tell it along."""

import asyncio
import logging
from typing import Any

from gateway.clock import FleetClock

__all__ = ["learn_time"]

_log = logging.getLogger("gateway.fleet")

_PATIENCE_S = 2.0


async def learn_time(client: Any, clock: FleetClock) -> None:
    """Ask the fleet's Redis. Without an answer deadlines are read by this host's clock."""
    asked_at = clock.monotonic()
    try:
        async with asyncio.timeout(_PATIENCE_S):
            seconds, microseconds = await client.time()
    except Exception as error:  # it goes on without, whatever it is
        _log.warning(
            "the fleet's Redis does not answer (%s); deadlines are read by this host's clock", type(error).__name__
        )
    else:
        clock.observe(seconds + microseconds / 1e6, asked_at, clock.monotonic())
