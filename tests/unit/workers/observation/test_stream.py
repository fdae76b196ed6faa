"""A failing observer breaks no call, keeps nobody else from being told, and is counted."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gateway.errors import ServiceTimeoutError
from workers.observation import BreakerChanged, CallRefused, Stream

CHANGED = BreakerChanged("billing", "closed", "open")
REFUSED = CallRefused("c1", ServiceTimeoutError("too late"))


class Noting:
    def __init__(self, name: str, kind: type[Any], error: BaseException | None = None) -> None:
        self.name = name
        self.kind = kind
        self.error = error
        self.seen: list[Any] = []

    @property
    def handlers(self) -> Mapping[type[Any], Callable[[Any], object]]:
        return {self.kind: self.note}

    def note(self, event: Any) -> None:
        self.seen.append(event)
        if self.error is not None:
            raise self.error


def test_each_is_told_what_it_wants_to_know() -> None:
    breakers, refusals = Noting("a", BreakerChanged), Noting("b", CallRefused)
    stream = Stream([breakers, refusals])
    stream.tell(CHANGED)
    stream.tell(REFUSED)
    assert breakers.seen == [CHANGED]
    assert refusals.seen == [REFUSED]


def test_one_that_fails_is_counted_and_the_next_is_told(caplog: pytest.LogCaptureFixture) -> None:
    failing, next_one = Noting("bad", BreakerChanged, KeyError("a-value-of-the-call")), Noting("good", BreakerChanged)
    stream = Stream([failing, next_one])
    with caplog.at_level(logging.INFO, "gateway.observers"):
        for _ in range(10):
            stream.tell(CHANGED)
    assert stream.failures == {"bad": 10}
    assert next_one.seen == [CHANGED] * 10
    said = [record.getMessage() for record in caplog.records]
    assert said == ["the observer bad raised KeyError"] * 3, "a flood of them is not logged"
    assert "a-value-of-the-call" not in caplog.text


def test_the_end_of_the_process_is_not_an_error_of_an_observer() -> None:
    stream = Stream([Noting("bad", BreakerChanged, KeyboardInterrupt())])
    with pytest.raises(KeyboardInterrupt):
        stream.tell(CHANGED)
    assert not stream.failures
