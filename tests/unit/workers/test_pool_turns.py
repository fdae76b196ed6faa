"""Whose turn it is, by a clock of our own."""

import threading

from workers.pool.turns import FIRST_DELAY_S, LAST_DELAY_S, Turns


class Clock:
    """Moved by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[Turns[str], Clock]:
    clock = Clock()
    return Turns(clock), clock


def given(turns: Turns[str], clock: Clock) -> str | None:
    """Whose turn it is now; None: nobody's."""
    found, _ = turns._next(clock())
    return found


def test_what_was_never_tried_goes_before_what_failed() -> None:
    turns, clock = made()
    turns.put_back("failed", 1)
    clock.now += FIRST_DELAY_S
    turns.put("fresh")
    assert [given(turns, clock) for _ in range(3)] == ["fresh", "failed", None]


def test_the_delay_doubles_for_each_piece_alone() -> None:
    turns, clock = made()
    for failures, delay_s in ((1, 0.5), (2, 1.0), (3, 2.0), (6, LAST_DELAY_S), (5000, LAST_DELAY_S)):
        turns.put_back("stuck", failures)
        turns.put_back("other", 1)
        clock.now += FIRST_DELAY_S
        assert given(turns, clock) == ("stuck" if failures == 1 else "other")
        assert given(turns, clock) == ("other" if failures == 1 else None)
        clock.now += delay_s - FIRST_DELAY_S - 0.01
        assert given(turns, clock) is None
        clock.now += 0.01
        assert given(turns, clock) == (None if failures == 1 else "stuck")


def test_what_is_away_is_asked_by_one_at_a_time() -> None:
    turns, clock = made()
    for number in range(5):
        turns.put(f"{number}")
    for number, delay_s in enumerate((0.5, 1.0, 2.0)):
        assert given(turns, clock) == f"{number}"
        turns.rest()
        assert turns.resting
        clock.now += delay_s - 0.01
        assert given(turns, clock) is None
        clock.now += 0.01
    assert given(turns, clock) == "3"
    turns.well()
    assert not turns.resting
    assert given(turns, clock) == "4"


def test_what_is_urgent_does_not_wait_for_what_is_away() -> None:
    turns, clock = made()
    turns.rest()
    turns.put("fresh")
    turns.put("urgent", urgent=True)
    assert [given(turns, clock), given(turns, clock)] == ["urgent", None]


def test_a_hurry_shortens_every_wait() -> None:
    turns, clock = made()
    turns.put_back("failed", 6)
    for _ in range(6):
        turns.rest()
    turns.hurry()
    clock.now += FIRST_DELAY_S
    assert given(turns, clock) == "failed"
    turns.rest()
    turns.put_back("failed", 7)
    clock.now += FIRST_DELAY_S
    assert given(turns, clock) == "failed"


def test_once_closed_it_gives_what_was_never_tried_alone() -> None:
    turns, _ = made()
    turns.rest()
    turns.put_back("failed", 1)
    turns.put("fresh")
    turns.close()
    assert [turns.get(), turns.get()] == ["fresh", None]


def test_who_waits_is_woken() -> None:
    turns: Turns[str] = Turns()
    got: list[str | None] = []
    thread = threading.Thread(target=lambda: got.append(turns.get()))
    thread.start()
    turns.put("late")
    thread.join(5)
    assert got == ["late"]
