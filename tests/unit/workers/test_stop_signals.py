"""A signal that stops the worker waits for the hub, unless nobody would answer."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from workers.pool.bell import Bell
from workers.pool.stop_signals import StopSignals

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals that Celery's handlers got; they stand in their places again afterwards."""
    seen: list[int] = []
    before = {number: signal.getsignal(number) for number in NUMBERS}
    for number in NUMBERS:
        signal.signal(number, lambda number, _: seen.append(number))
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_within_the_hubs_loop_it_waits_for_the_next_step(handled: list[int]) -> None:
    bell = Bell()
    with StopSignals(bell).heard():
        send(signal.SIGQUIT)
        assert handled == []
        # It wakes a hub that sleeps.
        bell.wait(5.0)
        bell.answer()
    assert handled == [signal.SIGQUIT]


def test_where_nobody_answers_it_is_handled_at_once(handled: list[int]) -> None:
    signals = StopSignals(Bell())
    with signals.heard():
        pass
    send(signal.SIGTERM)
    assert handled == [signal.SIGTERM]


def test_what_the_handler_installs_waits_too(handled: list[int]) -> None:
    bell = Bell()
    second: list[int] = []

    def first(number: int, _: Any) -> None:
        handled.append(number)
        signal.signal(signal.SIGQUIT, lambda number, _: second.append(number))

    signal.signal(signal.SIGQUIT, first)
    with StopSignals(bell).heard():
        send(signal.SIGQUIT)
        bell.answer()
        send(signal.SIGQUIT)
        assert (handled, second) == ([signal.SIGQUIT], [])
        bell.answer()
        assert second == [signal.SIGQUIT]


def test_who_insists_is_not_kept_waiting(handled: list[int]) -> None:
    with StopSignals(Bell()).heard():
        send(signal.SIGQUIT)
        send(signal.SIGQUIT)
        assert handled == [signal.SIGQUIT]


def test_the_third_ends_the_worker_wherever_it_is(handled: list[int]) -> None:
    bell = Bell()
    with StopSignals(bell).heard():
        for _ in range(2):
            send(signal.SIGQUIT)
            bell.answer()
        send(signal.SIGQUIT)
        assert handled == [signal.SIGQUIT] * 3


def test_one_that_comes_as_the_loop_is_left_is_answered_then(handled: list[int]) -> None:
    bell = Bell()
    with StopSignals(bell).heard():
        send(signal.SIGTERM)
        assert handled == []
    assert handled == [signal.SIGTERM]
    bell.answer()
    assert handled == [signal.SIGTERM]
