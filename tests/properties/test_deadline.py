"""A deadline, whatever a message says and however wrong its sender's clock is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import RestCall
from gateway.envelope import DEFAULT_DEADLINE_S, MAX_DEADLINE_S, Envelope
from workers.deadline import Deadline

CALL = RestCall("users", "GET", "/")
WALL = 1.7e9

walls = st.floats(1.0, 4e9)
monotonics = st.floats(0.0, 1e8)
moments = st.floats(1e-3, 1e12)
asked = st.floats(1e-3, MAX_DEADLINE_S)
#: A sender's clock, ahead or behind.
skews = st.floats(-1e6, 1e6)
waits = st.floats(0.0, 1e5)


def left(*, wall: float = WALL, monotonic: float = 50.0, **fields: float | None) -> float:
    envelope = Envelope(version=1, call=CALL, **fields)  # type: ignore[arg-type]
    return Deadline.of(envelope, wall=wall, monotonic=monotonic).left(monotonic)


@given(walls, monotonics, moments, st.none() | moments)
@example(1.7e9, 0.0, 1e308, 1e-3)
def test_an_absolute_deadline(wall: float, monotonic: float, deadline_at: float, sent_at: float | None) -> None:
    got = left(wall=wall, monotonic=monotonic, deadline_at=deadline_at, sent_at=sent_at)
    assert got <= MAX_DEADLINE_S + 1e-6
    assert got <= deadline_at - wall + 1e-6, "never later than asked"
    if sent_at is not None:
        assert got <= deadline_at - sent_at + 1e-6, "nor longer"


@given(walls, monotonics, st.none() | asked, st.none() | moments)
def test_a_relative_deadline(wall: float, monotonic: float, deadline_s: float | None, sent_at: float | None) -> None:
    got = left(wall=wall, monotonic=monotonic, deadline_s=deadline_s, sent_at=sent_at)
    allowed = DEFAULT_DEADLINE_S if deadline_s is None else deadline_s
    assert got <= allowed + 1e-6
    if sent_at is None or sent_at >= wall:
        assert got == pytest.approx(allowed, abs=1e-6), "a sender that is ahead gains and loses nothing"
    else:
        assert got == pytest.approx(allowed - (wall - sent_at), rel=1e-9, abs=1e-6)


@given(asked, waits, skews, st.booleans())
def test_a_skewed_sender(deadline_s: float, waited: float, skew: float, relative: bool) -> None:
    """It never gets more than it asked for; with a right clock it gets what is left."""
    sent_at = WALL - waited + skew
    got = (
        left(deadline_s=deadline_s, sent_at=sent_at)
        if relative
        else left(deadline_at=sent_at + deadline_s, sent_at=sent_at)
    )
    assert got <= deadline_s + 1e-5
    if skew <= 0:
        assert got <= deadline_s - waited + 1e-5, "a sender that is behind never gains"
    if abs(skew) < 1e-9:
        assert got == pytest.approx(deadline_s - waited, abs=1e-5)


@given(asked, waits)
def test_without_skew_both_forms_say_the_same(deadline_s: float, waited: float) -> None:
    sent_at = WALL - waited
    one = left(deadline_s=deadline_s, sent_at=sent_at)
    assert one == pytest.approx(left(deadline_at=sent_at + deadline_s, sent_at=sent_at), abs=1e-5)
    assert one == pytest.approx(deadline_s - waited, abs=1e-5)
