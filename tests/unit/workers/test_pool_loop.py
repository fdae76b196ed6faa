"""However a call ends, its job is either settled or dropped."""

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from gateway.errors import CallCancelledError, Delivery, ServiceError
from gateway.reply import Reply
from workers.job import Job
from workers.observation.events import Event
from workers.pool.loop import CallLoop


class Waiting:
    """Waits until it is cancelled."""

    async def start(self) -> None:
        pass

    async def perform(
        self,
        call_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        headers: Mapping[str, Any],
        message: Callable[[], bytes],
        embed: Mapping[str, Any] | None = None,
    ) -> Reply | ServiceError:
        raise AssertionError("a call that is cancelled before its first step is not performed")

    def verifies(self, *message: object) -> bool:
        """Nobody has to sign."""
        return True

    def observe(self, event: Event) -> None:
        """Nobody looks."""

    def stored(self, call_id: str) -> None:
        pass

    def cancelled(self, call_id: str) -> ServiceError:
        return CallCancelledError("cancelled", delivery=Delivery.NOT_SENT, call_id=call_id)

    async def close(self) -> None:
        pass


def nothing(*_: Any) -> Any:
    return None


def job() -> Job:
    return Job("i", nothing, ("gateway.call", "i", {}, ((), {}, {})), nothing, nothing, nothing, nothing, nothing)


Ended = queue.SimpleQueue[tuple[str, Job]]


@pytest.fixture
def ended() -> Ended:
    return queue.SimpleQueue()


@pytest.fixture
def loop(ended: Ended) -> Iterator[CallLoop]:
    made = CallLoop(
        Waiting,
        settle=lambda one: ended.put(("settled", one)),
        drop=lambda one: ended.put(("dropped", one)),
        expire=nothing,
        died=nothing,
    )
    made.start()
    yield made
    made.stop(5)


def start_and_cancel_at_once(loop: CallLoop, one: Job, *, silence: bool = False) -> None:
    def both() -> None:
        loop._begin(one)
        one.silenced = silence
        loop._cancel(one)

    loop._loop.call_soon_threadsafe(both)


def test_a_call_that_is_revoked_before_its_first_step_is_settled(loop: CallLoop, ended: Ended) -> None:
    one = job()
    one.revoked = True
    start_and_cancel_at_once(loop, one)
    assert ended.get(timeout=5) == ("settled", one)
    assert isinstance(one.outcome, CallCancelledError)


def test_a_call_that_is_silenced_before_its_first_step_is_dropped(loop: CallLoop, ended: Ended) -> None:
    one = job()
    start_and_cancel_at_once(loop, one, silence=True)
    assert ended.get(timeout=5) == ("dropped", one)
