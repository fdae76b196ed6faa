"""From what a message says to a moment of the worker's clock."""

from typing import Any

import pytest

from gateway import RestCall
from gateway.envelope import DEFAULT_DEADLINE_S, MAX_DEADLINE_S, Envelope
from workers.deadline import Deadline

WALL, MONOTONIC = 1_700_000_000.0, 500.0


def deadline(**fields: Any) -> Deadline:
    envelope = Envelope(version=1, call=RestCall("users", "GET", "/"), **fields)
    return Deadline.of(envelope, wall=WALL, monotonic=MONOTONIC)


@pytest.mark.parametrize(
    ("fields", "left_s"),
    [
        ({"deadline_at": WALL + 7.0}, 7.0),
        ({"deadline_at": WALL - 7.0}, -7.0),
        ({"deadline_at": WALL + 7.0, "sent_at": WALL - 50.0}, 7.0),
        ({"deadline_at": WALL + 7.0, "sent_at": WALL + 3.0}, 4.0),  # a clock that is ahead
        ({"deadline_s": 7.0}, 7.0),
        ({"deadline_s": 7.0, "sent_at": WALL - 3.0}, 4.0),
        ({"deadline_s": 7.0, "sent_at": WALL - 10.0}, -3.0),
        ({"deadline_s": 7.0, "sent_at": WALL - 0.5}, 6.5),
        ({"deadline_s": 7.0, "sent_at": WALL + 3.0}, 7.0),  # a clock that is ahead
        ({}, DEFAULT_DEADLINE_S),
        ({"sent_at": WALL - 3.0}, DEFAULT_DEADLINE_S - 3.0),
        ({"deadline_at": WALL + 2 * MAX_DEADLINE_S}, MAX_DEADLINE_S),
    ],
)
def test_where_it_is(fields: dict[str, Any], left_s: float) -> None:
    assert deadline(**fields) == Deadline(MONOTONIC + left_s)


def test_what_is_left() -> None:
    assert Deadline(500.0).left(490.0) == 10.0
    assert Deadline(500.0).left(500.0) == 0.0
    assert Deadline(500.0).left(510.0) == -10.0
