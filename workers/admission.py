"""The step before the first attempt: one round trip to Redis, shared by all calls that start in the same tick.

Today it marks the call as running and stops a cancelled one. Whatever else has to be asked of the fleet before a call
may be sent belongs into this one step.
"""

import asyncio
import logging
from time import monotonic

from gateway.records import BEGIN_SCRIPT, GRACE_S, RESULT_EXPIRES_S, key_of
from gateway.redis_client import ERRORS, open_async

__all__ = ["Admission"]

_AWAY: tuple[type[Exception], ...] = (*ERRORS, TimeoutError)

_log = logging.getLogger("gateway.admission")

#: A result store that does not answer must not hold up calls: the record is a convenience, the call is not.
_PATIENCE_S = 1.0
#: After a failure the store is left alone for so long.
_REST_S = 1.0


class Admission:
    """Asks for many calls at once.

    Args:
        url: the Redis that holds results and state.
        worker: this worker's name, for the record.
    """

    def __init__(self, url: str, worker: str) -> None:
        self._client = open_async(url)
        self._script = self._client.register_script(BEGIN_SCRIPT)
        self._worker = worker
        self._asked: list[tuple[str, asyncio.Future[bool]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._rests_until = 0.0

    async def begin(self, call_id: str) -> bool:
        """Mark a call as running. False if it was cancelled; True also when the store cannot be asked."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        self._asked.append((call_id, answer))
        if len(self._asked) == 1:
            # The first of a tick asks for all that come until the loop gets to it.
            loop.call_soon(self._flush, loop)
        return await answer

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        asked, self._asked = self._asked, []
        task = loop.create_task(self._ask(asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, asked: list[tuple[str, asyncio.Future[bool]]]) -> None:
        answers: list[object] = [1] * len(asked)
        if monotonic() >= self._rests_until:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    async with self._client.pipeline(transaction=False) as pipe:
                        for call_id, _ in asked:
                            await self._script(
                                keys=[key_of(call_id)], args=[self._worker, RESULT_EXPIRES_S + GRACE_S], client=pipe
                            )
                        answers = await pipe.execute(raise_on_error=False)
            except _AWAY as error:
                self._rests_until = monotonic() + _REST_S
                _log.warning("the result store does not answer (%s); calls go on unrecorded", type(error).__name__)
        for (_, future), answer in zip(asked, answers, strict=True):
            if not future.done():
                future.set_result(answer != 0)

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()
