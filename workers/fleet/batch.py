"""Questions of many calls in one round trip: what comes while one is under way waits for the next."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["Batch"]

Q = TypeVar("Q")
A = TypeVar("A")

#: Of one round trip; more would hold Redis up for everybody else.
MOST = 200


class Batch(Generic[Q, A]):
    """Collects questions for one asker. Belongs to one event loop.

    At low load a question goes out at the end of the loop's tick. Under load the round trips take turns, so that their
    number does not grow with that of the calls.

    Args:
        ask: answers several questions at once, in order.
        most: how many at most.
    """

    def __init__(self, ask: Callable[[list[Q]], Awaitable[list[A]]], *, most: int = MOST) -> None:
        self._ask = ask
        self._most = most
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._task: asyncio.Task[None] | None = None

    def __call__(self, question: Q) -> "asyncio.Future[A]":
        """The answer to come. It raises what `ask` raised."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, answer))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                try:
                    answers = await self._ask([question for question, _ in batch])
                except Exception as error:  # whatever it is, who asked must hear of it
                    for _, answer in batch:
                        if not answer.done():
                            answer.set_exception(error)
                    continue
                for (_, answer), given in zip(batch, answers, strict=True):
                    if not answer.done():
                        answer.set_result(given)
        finally:
            self._task = None

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._task is not None:
            await asyncio.wait([self._task])
