"""An interruption arrives, whatever it interrupts."""

import signal
import time

import pytest

from gateway.dev.interrupts import Interrupted, Interrupts


class Dying:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        # The handler runs with the next instruction: here, where Python drops exceptions.
        time.sleep(0)


def test_one_that_comes_while_an_object_is_collected() -> None:
    def interrupted() -> None:
        with Interrupts():
            Dying()
            time.sleep(5)

    with pytest.raises(Interrupted) as caught:
        interrupted()
    assert caught.value.exit_code == 143


def test_it_comes_once() -> None:
    with Interrupts():
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_it_is_put_off_while_it_is_held() -> None:
    done = []

    def interrupted() -> None:
        with Interrupts() as interrupts, interrupts.hold():
            signal.raise_signal(signal.SIGINT)
            done.append(1)

    with pytest.raises(Interrupted):
        interrupted()
    assert done
