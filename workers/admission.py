"""The step before the first attempt: one round trip to Redis, shared by all calls that start in the same tick.

Today it marks the call as running and stops a cancelled one. Whatever else has to be asked of the fleet before a call
may be sent belongs into this one step.
"""

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic
from typing import Any

from redis.exceptions import NoScriptError

from gateway.records import GRACE_S, RESULT_EXPIRES_S, key_of
from gateway.redis_client import open_async

__all__ = ["Admission"]

_log = logging.getLogger("gateway.admission")

#: A result store that does not answer must not hold up calls: the record is a convenience, the call is not.
_PATIENCE_S = 1.0
#: After a failure the store is left alone for so long.
_REST_S = 1.0

#: Marks a call as running, unless it was cancelled. KEYS[1]: the record; ARGV: worker, deadline, seconds to live.
#: Returns 1, or 0 for a cancelled call.
_BEGIN = """
if redis.call('HGET', KEYS[1], 'state') == 'cancelled' then return 0 end
redis.call('HSET', KEYS[1], 'state', 'running', 'worker', ARGV[1])
redis.call('HSETNX', KEYS[1], 'deadline_at', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


@dataclass(frozen=True, slots=True)
class _Question:
    call_id: str
    deadline_at: float
    answer: "asyncio.Future[bool]"


class Admission:
    """Asks for many calls at once.

    Args:
        url: the Redis that holds results and state.
        worker: this worker's name, for the record.
    """

    def __init__(self, url: str, worker: str) -> None:
        self._client: Any = open_async(url)
        self._worker = worker
        self._sha: str | None = None
        self._asked: list[_Question] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._rests_until = 0.0

    async def begin(self, call_id: str, deadline_at: float) -> bool:
        """Mark a call as running. False if it was cancelled; True also when the store cannot be asked.

        Args:
            call_id: of the call.
            deadline_at: its deadline, as a Unix time in seconds.
        """
        loop = asyncio.get_running_loop()
        question = _Question(call_id, deadline_at, loop.create_future())
        self._asked.append(question)
        if len(self._asked) == 1:
            # The first of a tick asks for all that come until the loop gets to it.
            loop.call_soon(self._flush, loop)
        return await question.answer

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        asked, self._asked = self._asked, []
        task = loop.create_task(self._ask(asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, asked: list[_Question]) -> None:
        answers: list[object] = [1] * len(asked)
        try:
            if monotonic() >= self._rests_until:
                async with asyncio.timeout(_PATIENCE_S):
                    answers = await self._run_script(asked)
        except Exception as error:  # whatever it is, the calls must go on
            self._rests_until = monotonic() + _REST_S
            _log.warning("the result store does not answer (%s); calls go on unrecorded", type(error).__name__)
        finally:
            for question, answer in zip(asked, answers, strict=True):
                if not question.answer.done():
                    question.answer.set_result(answer != 0)

    async def _run_script(self, asked: list[_Question]) -> list[object]:
        if self._sha is None:
            self._sha = await self._client.script_load(_BEGIN)
        answers = await self._send(asked)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # The server was restarted, and has forgotten it.
            self._sha = await self._client.script_load(_BEGIN)
            answers = await self._send(asked)
        return answers

    async def _send(self, asked: list[_Question]) -> list[object]:
        async with self._client.pipeline(transaction=False) as pipe:
            for question in asked:
                pipe.evalsha(
                    self._sha,
                    1,
                    key_of(question.call_id),
                    self._worker,
                    repr(question.deadline_at),
                    RESULT_EXPIRES_S + GRACE_S,
                )
            answers: list[object] = await pipe.execute(raise_on_error=False)
            return answers

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()
