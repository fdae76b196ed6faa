"""An outcome that cannot be stored is kept; a task body is never run twice."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.exceptions import ResponseError

from gateway.errors import ServiceUnavailableError
from workers.job import Job
from workers.pool.tracer import TracerThreads


def _at_once(step: Callable[[], object]) -> None:
    step()


def nothing(*_: Any) -> Any:
    return None


def job(target: Callable[..., Any], *, is_call: bool) -> Job:
    made = Job("id", target, (), nothing, nothing, nothing, nothing, nothing)
    if is_call:
        made.outcome = ServiceUnavailableError("down")
        made.runtime_s = 1.5
    return made


@pytest.fixture
def threads() -> Iterator[TracerThreads]:
    made = TracerThreads("test", 1, _at_once)
    made.start()
    yield made
    made.hurry()
    made.stop(5)


def traced(threads: TracerThreads, one: Job) -> Job:
    done: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threads.trace(one, done.put)
    return done.get(timeout=10)


def failing(times: int, error: BaseException) -> tuple[Callable[..., Any], list[int]]:
    calls: list[int] = []

    def target() -> tuple[int, Any, float]:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return 0, "value", 0.0

    return target, calls


def test_a_full_store_is_tried_again(threads: TracerThreads) -> None:
    target, calls = failing(1, ResponseError("OOM command not allowed"))
    one = traced(threads, job(target, is_call=True))
    assert one.traced == (0, "value", 1.5)
    assert len(calls) == 2


@pytest.mark.parametrize("error", [ResponseError("OOM"), SystemExit(1)])
def test_an_ordinary_task_runs_once(threads: TracerThreads, error: BaseException) -> None:
    target, calls = failing(9, error)
    one = traced(threads, job(target, is_call=False))
    assert one.broken is error
    assert one.traced is None
    assert len(calls) == 1
    assert traced(threads, job(lambda: (0, "alive", 0.0), is_call=False)).traced == (0, "alive", 0.0)


def test_an_error_that_waiting_does_not_cure_ends_at_once(threads: TracerThreads) -> None:
    target, calls = failing(9, TypeError("SECRET"))
    assert isinstance(traced(threads, job(target, is_call=True)).broken, TypeError)
    assert len(calls) == 1


def test_a_worker_that_ends_tries_again_until_the_job_is_given_up(threads: TracerThreads) -> None:
    tried = threading.Semaphore(0)

    def target() -> Any:
        tried.release()
        raise ResponseError("OOM")

    done: queue.SimpleQueue[Job] = queue.SimpleQueue()
    one = job(target, is_call=True)
    threads.trace(one, done.put)
    threads.hurry()
    for _ in range(3):
        assert tried.acquire(timeout=5)
    assert done.empty()
    one.silenced = True
    assert done.get(timeout=5).traced is None


def test_one_that_cannot_be_stored_holds_up_no_other(threads: TracerThreads) -> None:
    stuck = job(failing(1_000, ResponseError("too large"))[0], is_call=True)
    threads.trace(stuck, lambda _: None)
    for _ in range(3):
        assert traced(threads, job(lambda: (0, "value", 0.0), is_call=True)).traced == (0, "value", 1.5)
    stuck.silenced = True


def test_one_that_always_fails_delays_nobody(threads: TracerThreads) -> None:
    """Its wait is its own: a thread that slept over it would make each of the others wait for half a second."""
    target, tries = failing(1_000, ResponseError("too large"))
    stuck = job(target, is_call=True)
    threads.trace(stuck, lambda _: None)
    began = time.monotonic()
    for _ in range(10):
        assert traced(threads, job(lambda: (0, "value", 0.0), is_call=True)).traced == (0, "value", 1.5)
    assert time.monotonic() - began < 2.5
    assert len(tries) < 5
    stuck.silenced = True


def test_a_store_that_is_away_is_asked_for_one_of_many(threads: TracerThreads) -> None:
    asked: list[float] = []

    def away() -> Any:
        asked.append(time.monotonic())
        raise ConnectionRefusedError

    many = [job(away, is_call=True) for _ in range(50)]
    for one in many:
        threads.trace(one, lambda _: None)
    time.sleep(1.0)
    assert 1 <= len(asked) <= 3, "now, and after half a second"
    for one in many:
        one.silenced = True


def test_a_silenced_job_is_not_traced(threads: TracerThreads) -> None:
    target, calls = failing(0, SystemExit())
    one = job(target, is_call=True)
    one.silenced = True
    assert traced(threads, one).traced is None
    assert not calls
