"""How a call, or a message of it, leaves this worker to come again."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from time import monotonic

from gateway.clock import FleetClock
from gateway.errors import Delivery, GatewayUnavailableError, OutcomeUnknownError
from gateway.outcome import Failure
from workers.execution import Execution, Hold
from workers.fleet.admission import LEASE_S
from workers.fleet.parking import ParkingError, ParkingLot
from workers.outcomes import Dropped, Parked
from workers.verdict import Elsewhere

__all__ = ["Parker"]

_log = logging.getLogger("gateway.parking")

#: Seconds for which parking is tried, and between two tries. A warm stop of the worker waits for it.
_TRYING_S, _PAUSE_S = 30.0, 0.5


class Parker:
    """Puts calls into the lot.

    Args:
        lot: where they go; closed with this.
        clock: the time of the lot's Redis.
    """

    def __init__(self, lot: ParkingLot, clock: FleetClock) -> None:
        self._lot = lot
        self._clock = clock

    async def park(self, execution: Execution, hold: Hold, message: Callable[[], bytes]) -> Failure | Parked | Dropped:
        """Park a call that has to wait; what it ends with if that cannot be done.

        Args:
            execution, hold: the call, and what it waits for.
            message: packs it, at the last moment: from then on nothing else ends this message.
        """
        now = self._clock.now()
        until = None if hold.due_s is None else now + hold.due_s
        packed = message()
        ends = monotonic() + min(_TRYING_S, execution.left_s)
        while True:
            try:
                parked = await self._park(execution, hold, packed, now, until)
            except ParkingError as error:
                _log.warning("call %s: %s", execution.call_id, error)
            else:
                if parked:
                    return Parked(hold.why, until)
                if not execution.progress.token:
                    # Who never had the lease cannot tell whether whoever has it still lives.
                    return await self.postpone(execution, Elsewhere(LEASE_S), lambda: packed)
                # Perhaps since an earlier try parked it, whose answer was lost.
                return Dropped("another worker took it over")
            if monotonic() >= ends:
                break
            await _pause()
        # It may be parked all the same, and be sent later.
        return replace(hold.otherwise, delivery=execution.overall(Delivery.MAYBE_SENT))

    async def _park(self, execution: Execution, hold: Hold, packed: bytes, now: float, until: float | None) -> bool:
        progress = execution.progress
        return await self._lot.park(
            execution.call_id,
            service=execution.service.name,
            message=packed,
            until=until,
            deadline_at=now + execution.left_s,
            token=progress.token,
            owner=progress.owner,
            attempts=progress.attempts,
            free=progress.free,
            maybe=execution.overall(Delivery.NOT_SENT) is not Delivery.NOT_SENT,
            spent_s=execution.spent_s,
            paid=progress.paid,
            why=hold.why,
            history=execution.history,
        )

    async def postpone(
        self, execution: Execution, elsewhere: Elsewhere, message: Callable[[], bytes]
    ) -> Failure | Parked:
        """Have a message come again when whoever has its call should have ended it, or have said that it still runs.

        Not dropped: should that worker die, this may be the last message of the call.
        """
        until = self._clock.now() + elsewhere.for_s
        if await self._comes_again(execution, message(), until):
            return Parked("its end elsewhere", until)
        return Failure(
            error=OutcomeUnknownError,
            message="it was running elsewhere when the fleet's Redis went away",
            delivery=Delivery.MAYBE_SENT,
        )

    async def defer(self, execution: Execution, message: Callable[[], bytes]) -> Failure | Parked:
        """Have a call that may not begin yet come again when it may, or when its deadline has passed."""
        now = self._clock.now()
        until = min(execution.not_before, now + execution.left_s)
        if await self._comes_again(execution, message(), until):
            return Parked("its time", until)
        return Failure(
            error=GatewayUnavailableError,
            message="the fleet's Redis did not keep it until it may begin",
            # An earlier message of it may be on its way.
            delivery=execution.overall(Delivery.NOT_SENT),
            repeatable=False,
        )

    async def _comes_again(self, execution: Execution, packed: bytes, until: float) -> bool:
        """Keep a message until then, without the call; False if that cannot be done."""
        ends = monotonic() + _TRYING_S
        while True:
            try:
                await self._lot.postpone(
                    execution.call_id,
                    service=execution.service.name,
                    message=packed,
                    until=until,
                    owner=execution.progress.owner,
                    parks=execution.progress.parks,
                    maybe=execution.progress.maybe_sent,
                )
            except ParkingError as error:
                _log.warning("call %s: %s", execution.call_id, error)
            else:
                return True
            if monotonic() >= ends:
                return False
            await _pause()

    async def close(self) -> None:
        """Close the lot; what is being parked is seen through."""
        await self._lot.close()


async def _pause() -> None:
    """Between two tries; the job cannot be cancelled any more, so a cancellation is not meant for it."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(_PAUSE_S)
