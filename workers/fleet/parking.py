"""How calls leave the worker: into the shared Redis, from where an `Unparker` sends them back when they may go on."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec

from gateway.dead_letter import AttemptMade, pack_history
from gateway.records import GRACE_S, RESULT_EXPIRES_S
from gateway.redis_client import open_async
from workers.fleet.batch import Batch
from workers.fleet.script import Script

__all__ = ["PATIENCE_S", "ParkingError", "ParkingLot"]

#: Seconds within which Redis must have answered.
PATIENCE_S = 2.0
#: Calls that are remembered because nobody knows whether they were parked, and how many are taken back at once.
_MOST_DOUBTFUL, _MOST_FORGOTTEN = 10_000, 500


class ParkingError(Exception):
    """Redis did not answer in time or refused: the call is not parked, as far as can be known."""


class ParkingLot:
    """Parks calls: those of one tick of the loop, and those that come while Redis is asked, share one round trip.

    Args:
        redis: URL of the Redis that holds results and state, or an asyncio client of it, which stays its owner's.
    """

    def __init__(self, redis: Any) -> None:
        self._owns_client = isinstance(redis, str)
        self._client: Any = open_async(redis) if isinstance(redis, str) else redis
        self._script = Script("park.lua")
        self._batch: Batch[dict[str, Any], int] = Batch(self._ask)
        self._doubtful: deque[dict[str, Any]] = deque(maxlen=_MOST_DOUBTFUL)

    async def park(
        self,
        call_id: str,
        *,
        service: str,
        message: bytes,
        until: float | None,
        deadline_at: float,
        token: int,
        owner: str,
        attempts: int,
        free: int,
        maybe: bool,
        spent_s: float,
        paid: int,
        why: str,
        history: Sequence[AttemptMade] = (),
    ) -> bool:
        """Park a call. It comes back with a header `gateway_parks`, which counts how often it was parked.

        What has begun is seen through: if this is cancelled and the call is parked after all, it returns True and the
        cancellation has no effect. So it belongs outside of every `asyncio.timeout`.

        Args:
            call_id: of the call.
            service: which it waits for.
            message: as `Job.message` packs it.
            until: Unix seconds of Redis's clock when it may go on; None: as soon as the service's gate lets it through.
            deadline_at: of the call, in Unix seconds.
            token: the worker's lease of the call; 0 if Redis was away when it asked for one.
            owner: as in `workers.verdict.Ask`.
            attempts, free, maybe, spent_s, paid: what the record keeps, see `gateway.records`.
            why: one line for operators.
            history: the attempts of this worker, for the record.

        Returns:
            False if the call belongs to another worker by now; nothing was written then.

        Raises:
            ParkingError: Redis did not answer within `PATIENCE_S`, or refused. Should it have parked the call
                nevertheless, that is taken back as soon as it answers again.
        """
        call = {
            "id": call_id,
            "service": service,
            "message": message.decode(),
            "deadline_at": deadline_at,
            "token": token,
            "owner": owner,
            "attempts": attempts,
            "free": free,
            "maybe": int(maybe),
            "spent": spent_s,
            "paid": paid,
            "why": why,
        }
        if until is not None:
            call["due"] = until
        if history:
            call["history"] = pack_history(history)
        return await self._put(call)

    async def postpone(
        self, call_id: str, *, service: str, message: bytes, until: float, owner: str, parks: int, maybe: bool
    ) -> None:
        """Keep a message whose call runs elsewhere; it comes again at `until`. Nothing of the call is touched.

        Args:
            call_id, service, message, until, maybe: as in `park`.
            owner: names the message among others of the same call.
            parks: how often the message says that its call was parked.

        Raises:
            ParkingError: as `park`.
        """
        copy = {
            "id": call_id,
            "service": service,
            "message": message.decode(),
            "due": until,
            "owner": owner,
            "maybe": int(maybe),
            "copy": parks,
            # What is taken back after a lost answer is found by it; a copy that comes twice does no harm.
            "token": -1,
        }
        await self._put(copy)

    async def _put(self, call: dict[str, Any]) -> bool:
        answer = self._batch(call)
        try:
            return await asyncio.shield(answer) == 1
        except asyncio.CancelledError:
            if await _seen_through(answer):
                return True
            raise

    async def _ask(self, calls: Sequence[dict[str, Any]]) -> list[int]:
        document: dict[str, Any] = {"calls": calls, "ttl": RESULT_EXPIRES_S + GRACE_S}
        forgotten = list(islice(self._doubtful, _MOST_FORGOTTEN))
        if forgotten:
            document["forget"] = forgotten
        try:
            async with asyncio.timeout(PATIENCE_S):
                text = await self._script.run(self._client, msgspec.json.encode(document))
            answers = msgspec.json.decode(text, type=list[int])
        except Exception as error:
            self._doubtful.extend({name: call[name] for name in ("id", "service", "token")} for call in calls)
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise ParkingError(f"the call could not be parked: the result store does not answer ({why})") from None
        if self._doubtful:
            # What was parked now is in doubt no more, however often it was tried: a later run must not take it back.
            known = {(call["id"], call["token"]) for call in calls}
            left = islice(self._doubtful, len(forgotten), None)
            self._doubtful = deque(
                (gone for gone in left if (gone["id"], gone["token"]) not in known), maxlen=_MOST_DOUBTFUL
            )
        return answers

    async def close(self) -> None:
        """Give the connections back. Calls that are being parked get their answer first."""
        await self._batch.settle()
        if self._owns_client:
            await self._client.aclose()

    def __repr__(self) -> str:
        return f"<ParkingLot {len(self._doubtful)} in doubt>"


async def _seen_through(answer: "asyncio.Future[int]") -> bool:
    """Wait for the end of what cannot be taken back, through any further cancellation."""
    while not answer.done():
        try:
            await asyncio.wait({answer})
        except asyncio.CancelledError:
            continue
    return answer.exception() is None and answer.result() == 1
