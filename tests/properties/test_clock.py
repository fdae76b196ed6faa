"""Whatever a network does to answers, fleet time is off by no more than it says."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import _DRIFT, FleetClock

#: Seconds until an exchange, its way there, its way back.
exchanges = st.lists(st.tuples(st.floats(0, 600), st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=20)


@given(
    exchanges,
    st.floats(-1e6, 1e6),
    st.floats(-_DRIFT * 0.9, _DRIFT * 0.9),
    st.sampled_from([-3600.0, 0.0, 3600.0]),
)
def test_the_error_is_bounded(
    answers: list[tuple[float, float, float]], ahead: float, drift: float, wrong: float
) -> None:
    true = 1e6

    def server() -> float:
        return 1.7e9 + ahead + (true - 1e6) * (1 + drift)

    clock = FleetClock(wall=lambda: 1.7e9 + wrong + true, monotonic=lambda: true)
    best: tuple[float, float] | None = None
    for pause, there, back in answers:
        true += pause
        asked_at = true
        true += there
        said = server()
        true += back
        clock.observe(said, asked_at, true)
        known = float("inf") if best is None else best[0] + _DRIFT * (true - best[1])
        if (there + back) / 2 <= known:
            best = ((there + back) / 2, true)
        assert best is not None
        bound = best[0] + _DRIFT * (true - best[1]) + _DRIFT * 4
        assert abs(clock.now() - server()) <= bound + 1e-5
        assert clock.is_sure
