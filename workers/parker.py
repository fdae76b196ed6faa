"""How a call, or a message of it, leaves this worker to come again."""

import logging
from collections.abc import Callable

from gateway.clock import FleetClock
from gateway.errors import Delivery, OutcomeUnknownError
from gateway.outcome import Failure
from workers.execution import Execution, Hold
from workers.fleet.parking import ParkingError, ParkingLot
from workers.outcomes import Dropped, Parked
from workers.verdict import Elsewhere

__all__ = ["Parker"]

_log = logging.getLogger("gateway.parking")


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
        progress = execution.progress
        now = self._clock.now()
        until = None if hold.due_s is None else now + hold.due_s
        try:
            parked = await self._lot.park(
                execution.call_id,
                service=execution.service.name,
                message=message(),
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
            )
        except ParkingError as error:
            _log.warning("call %s: %s", execution.call_id, error)
            return hold.otherwise
        return Parked(hold.why, until) if parked else Dropped("another worker took it over")

    async def postpone(
        self, execution: Execution, elsewhere: Elsewhere, message: Callable[[], bytes]
    ) -> Failure | Parked:
        """Have a message come again when whoever has its call should have ended it, or have said that it still runs.

        Not dropped: should that worker die, this may be the last message of the call.
        """
        until = self._clock.now() + elsewhere.for_s
        try:
            await self._lot.postpone(
                execution.call_id,
                service=execution.service.name,
                message=message(),
                until=until,
                owner=execution.progress.owner,
                parks=execution.progress.parks,
                maybe=execution.progress.maybe_sent,
            )
        except ParkingError as error:
            _log.warning("call %s: %s", execution.call_id, error)
            return Failure(
                error=OutcomeUnknownError,
                message="it was running elsewhere when the fleet's Redis went away",
                delivery=Delivery.MAYBE_SENT,
            )
        return Parked("its end elsewhere", until)

    async def close(self) -> None:
        """Close the lot; what is being parked is seen through."""
        await self._lot.close()
