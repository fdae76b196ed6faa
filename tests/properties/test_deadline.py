"""Whatever a message says and whatever its sender's clock: never later than asked for, and never beyond the longest."""

from hypothesis import given
from hypothesis import strategies as st

from gateway import RestCall
from gateway.envelope import DEFAULT_DEADLINE_S, MAX_DEADLINE_S, Envelope
from workers.deadline import Deadline

WALL = 1_700_000_000.0
CALL = RestCall("users", "GET", "/")
asked = st.floats(min_value=0.001, max_value=MAX_DEADLINE_S)
#: Seconds that a message waited, as its sender's clock has it: negative if that clock is ahead.
waited = st.floats(min_value=-1e5, max_value=1e5)
clocks = st.floats(min_value=0, max_value=1e6)
EPSILON = 1e-3


def left(envelope: Envelope, monotonic: float) -> float:
    return Deadline.of(envelope, wall=WALL, monotonic=monotonic).left(monotonic)


@given(asked, waited, clocks)
def test_a_deadline_in_seconds_counts_from_when_it_was_sent(asked: float, waited: float, monotonic: float) -> None:
    found = left(Envelope(version=1, call=CALL, deadline_s=asked, sent_at=WALL - waited), monotonic)
    assert abs(found - (asked - max(0.0, waited))) < EPSILON


@given(asked, waited, clocks)
def test_a_moment_is_never_later_than_asked_for(asked: float, waited: float, monotonic: float) -> None:
    sent_at = WALL - waited
    found = left(Envelope(version=1, call=CALL, deadline_at=sent_at + asked, sent_at=sent_at), monotonic)
    assert found <= asked + EPSILON
    assert abs(found - (asked - max(0.0, waited))) < EPSILON


@given(st.none() | asked, st.none() | st.floats(min_value=1.0, max_value=4e9), st.none() | waited, clocks)
def test_never_beyond_the_longest(
    asked: float | None, moment: float | None, waited: float | None, monotonic: float
) -> None:
    envelope = Envelope(
        version=1,
        call=CALL,
        deadline_s=asked if moment is None else None,
        deadline_at=moment,
        sent_at=None if waited is None else WALL - waited,
    )
    found = left(envelope, monotonic)
    assert found <= MAX_DEADLINE_S + EPSILON
    if moment is None:
        assert found <= (DEFAULT_DEADLINE_S if asked is None else asked) + EPSILON


@given(st.floats(min_value=0, max_value=1e6), clocks, st.floats(min_value=0, max_value=1e5))
def test_time_passes(at: float, now: float, passed: float) -> None:
    deadline = Deadline(at)
    assert abs(deadline.left(now) - deadline.left(now + passed) - passed) < EPSILON
