"""Closed, open, half-open: what changes the phase, who gets a permit, and who is told."""

from typing import Any

import pybreaker
import pytest

from gateway import policy
from workers.resilience.breaker import BadAttemptError, Breaker, Permit
from workers.resilience.health import Health

GOOD, BAD, NEUTRAL = Health.GOOD, Health.BAD, Health.NEUTRAL
ORDINARY = Permit(probe=False)
INF = float("inf")


class Ear(pybreaker.CircuitBreakerListener):
    """A listener that remembers."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def state_change(self, cb: pybreaker.CircuitBreaker, old_state: Any, new_state: Any) -> None:
        self.heard.append(f"{cb.name} {old_state.name} -> {new_state.name}")

    def failure(self, cb: pybreaker.CircuitBreaker, exc: BaseException) -> None:
        assert isinstance(exc, BadAttemptError)
        self.heard.append(str(exc))

    def success(self, cb: pybreaker.CircuitBreaker) -> None:
        self.heard.append("success")


def make(ear: Ear | None = None, **rules: Any) -> Breaker:
    rules = {"fail_max": 3, "reset_timeout": 30.0, "success_threshold": 2, "failure_rate": None} | rules
    return Breaker("users", policy.Breaker(**rules), () if ear is None else (ear,), probe_life_s=10.0)


def record(breaker: Breaker, now: float, *healths: Health, elapsed_s: float = 0.1) -> str | None:
    reason = None
    for health in healths:
        reason = breaker.record(now, health, elapsed_s=elapsed_s, permit=ORDINARY)
    return reason


def tripped(**rules: Any) -> Breaker:
    """Open since 100.0, until 130.0."""
    breaker = make(**rules)
    assert record(breaker, 100.0, BAD, BAD, BAD) == "3 calls in a row failed"
    return breaker


def probe(breaker: Breaker, now: float) -> Permit:
    permit = breaker.permit(now)
    assert isinstance(permit, Permit)
    assert permit.probe
    assert permit.ticket
    return permit


def end(breaker: Breaker, now: float, health: Health, permit: Permit) -> str | None:
    return breaker.record(now, health, elapsed_s=0.1, permit=permit)


def phase(breaker: Breaker) -> str:
    """Not narrowed by an assertion before."""
    return breaker.phase


def test_while_closed_all_are_permitted() -> None:
    breaker = make()
    assert (breaker.phase, breaker.until) == ("closed", 0.0)
    assert [breaker.permit(100.0) for _ in range(3)] == [ORDINARY] * 3
    assert record(breaker, 100.0, GOOD) is None


def test_failures_in_a_row_open_it() -> None:
    breaker = make()
    assert record(breaker, 100.0, BAD, BAD) is None
    assert phase(breaker) == "closed"
    assert record(breaker, 100.0, BAD) == "3 calls in a row failed"
    assert (breaker.phase, breaker.until) == ("open", 130.0)
    assert breaker.permit(110.0) == 20.0


def test_a_success_in_between_starts_the_row_again_and_a_neutral_end_does_not() -> None:
    breaker = make()
    record(breaker, 100.0, BAD, BAD, GOOD, BAD, BAD)
    assert phase(breaker) == "closed"
    assert record(breaker, 100.0, NEUTRAL, NEUTRAL, BAD) == "3 calls in a row failed"


def test_a_share_of_failures_opens_it() -> None:
    breaker = make(fail_max=99, failure_rate=0.5, min_calls=4)
    assert record(breaker, 100.0, GOOD, BAD, GOOD) is None
    assert record(breaker, 101.0, BAD) == "50 % of 4 calls failed in 10 s"
    assert (breaker.phase, breaker.until) == ("open", 131.0)
    assert repr(breaker) == "<Breaker users open until 131.000, 50 % of 4 calls failed in 10 s>"


def test_a_good_call_never_opens_it() -> None:
    breaker = make(fail_max=99, failure_rate=0.5, min_calls=4)
    assert record(breaker, 100.0, BAD, BAD, BAD, GOOD) is None
    assert phase(breaker) == "closed"
    assert record(breaker, 100.0, BAD) == "80 % of 5 calls failed in 10 s"


def test_slow_calls_open_it() -> None:
    breaker = make(slow_call=2.0, slow_rate=0.8, min_calls=5)
    assert record(breaker, 100.0, GOOD, elapsed_s=1.99) is None
    assert record(breaker, 100.0, GOOD, GOOD, GOOD, elapsed_s=2.0) is None
    assert record(breaker, 100.0, GOOD, elapsed_s=2.0) == "80 % of 5 calls in 10 s took 2 s or longer"
    assert phase(breaker) == "open"


def test_a_failed_call_may_be_slow_too() -> None:
    breaker = make(fail_max=99, slow_call=2.0, min_calls=2)
    assert record(breaker, 100.0, BAD, BAD, elapsed_s=3.0) == "100 % of 2 calls in 10 s took 2 s or longer"


def test_neutral_ends_are_in_no_share() -> None:
    breaker = make(fail_max=99, failure_rate=0.5, min_calls=4, slow_call=2.0)
    record(breaker, 100.0, *[NEUTRAL] * 10, elapsed_s=9.0)
    assert record(breaker, 100.0, BAD, BAD, BAD) is None
    assert record(breaker, 100.0, BAD) == "100 % of 4 calls failed in 10 s"


def test_after_its_time_it_lets_the_probes_through_and_no_more() -> None:
    breaker = tripped()
    assert breaker.permit(129.5) == 0.5
    assert phase(breaker) == "open"
    first = probe(breaker, 130.0)
    assert (breaker.phase, breaker.until) == ("half-open", 0.0)
    second = probe(breaker, 131.0)
    assert first.ticket != second.ticket
    assert breaker.permit(132.0) == 8.0  # when the first counts as dead


def test_probes_that_succeed_close_it() -> None:
    breaker = tripped()
    first, second = probe(breaker, 130.0), probe(breaker, 130.0)
    assert end(breaker, 131.0, GOOD, first) is None
    assert phase(breaker) == "half-open"
    assert breaker.permit(131.0) == 9.0  # a probe that succeeded keeps its place
    assert end(breaker, 131.0, GOOD, second) is None
    assert phase(breaker) == "closed"
    assert breaker.permit(131.0) == ORDINARY


def test_a_probe_that_fails_opens_it_again() -> None:
    breaker = tripped()
    first, second = probe(breaker, 130.0), probe(breaker, 130.0)
    end(breaker, 131.0, GOOD, first)
    assert end(breaker, 132.0, BAD, second) == "a probe failed"
    assert (breaker.phase, breaker.until) == ("open", 162.0)
    first, second = probe(breaker, 162.0), probe(breaker, 162.0)
    end(breaker, 163.0, GOOD, first)
    assert phase(breaker) == "half-open"  # successes of the round before are forgotten
    end(breaker, 163.0, GOOD, second)
    assert phase(breaker) == "closed"


def test_a_neutral_probe_gives_its_place_back() -> None:
    breaker = tripped()
    first, second = probe(breaker, 130.0), probe(breaker, 130.0)
    assert end(breaker, 131.0, NEUTRAL, first) is None
    assert phase(breaker) == "half-open"
    third = probe(breaker, 131.0)
    assert breaker.permit(131.0) == 9.0
    end(breaker, 132.0, GOOD, second)
    end(breaker, 132.0, GOOD, third)
    assert phase(breaker) == "closed"


def test_more_probes_than_must_succeed() -> None:
    breaker = tripped(probes=4)
    probes = [probe(breaker, 130.0) for _ in range(4)]
    assert breaker.permit(130.0) == 10.0
    end(breaker, 131.0, GOOD, probes[3])
    end(breaker, 131.0, GOOD, probes[0])
    assert phase(breaker) == "closed"


def test_a_probe_that_nobody_reports_does_not_pin_it() -> None:
    breaker = tripped()
    lost, other = probe(breaker, 130.0), probe(breaker, 135.0)
    assert breaker.permit(139.5) == 0.5
    third = probe(breaker, 140.0)
    assert breaker.permit(140.0) == 5.0
    # Its place was given back, so its outcome counts no more.
    assert end(breaker, 141.0, BAD, lost) is None
    assert end(breaker, 141.0, GOOD, lost) is None
    assert end(breaker, 141.0, GOOD, other) is None
    assert phase(breaker) == "half-open"
    end(breaker, 142.0, GOOD, third)
    assert phase(breaker) == "closed"


def test_dead_probes_can_be_given_back_without_asking_for_a_permit() -> None:
    breaker = tripped()
    probe(breaker, 130.0)
    breaker.expire_probes(139.9)
    assert "1 of 2 probes under way" in repr(breaker)
    breaker.expire_probes(140.0)
    assert "0 of 2 probes under way" in repr(breaker)


def test_a_probe_of_an_earlier_round_has_no_say() -> None:
    breaker = tripped()
    first, late = probe(breaker, 130.0), probe(breaker, 130.0)
    end(breaker, 131.0, BAD, first)
    current = probe(breaker, 161.0)
    assert end(breaker, 161.0, BAD, late) is None
    assert end(breaker, 161.0, GOOD, late) is None
    assert phase(breaker) == "half-open"
    assert end(breaker, 162.0, BAD, current) == "a probe failed"


def test_a_probe_that_the_fleet_gave_counts_without_a_place_here() -> None:
    breaker = tripped()
    breaker.half_open()
    fleets = Permit(probe=True)
    own = probe(breaker, 105.0)
    end(breaker, 105.0, GOOD, fleets)
    assert breaker.permit(105.0) == 10.0
    end(breaker, 105.0, NEUTRAL, fleets)
    assert breaker.permit(105.0) == 10.0
    end(breaker, 105.0, GOOD, own)
    assert phase(breaker) == "closed"
    breaker.half_open()
    assert end(breaker, 106.0, BAD, fleets) == "a probe failed"


@pytest.mark.parametrize("health", Health)
def test_what_was_under_way_before_says_nothing(health: Health) -> None:
    breaker = tripped()
    assert record(breaker, 101.0, *[health] * 9) is None
    assert (breaker.phase, breaker.until) == ("open", 130.0)
    probe(breaker, 130.0)
    assert record(breaker, 130.0, *[health] * 9) is None
    assert phase(breaker) == "half-open"
    assert "0 of 2 succeeded" in repr(breaker)


def test_a_late_probe_is_an_ordinary_call_once_it_is_closed() -> None:
    breaker = tripped()
    late = probe(breaker, 130.0)
    breaker.close()
    for _ in range(2):
        assert end(breaker, 131.0, BAD, late) is None
    assert end(breaker, 131.0, BAD, late) == "3 calls in a row failed"


def test_closing_forgets_all_counts() -> None:
    breaker = make(fail_max=3, failure_rate=0.5, min_calls=4)
    record(breaker, 100.0, BAD, BAD)
    breaker.close()
    assert record(breaker, 100.0, BAD, BAD) is None
    assert repr(breaker) == "<Breaker users closed, 2 of 3 failures in a row>"
    assert record(breaker, 100.0, GOOD) is None
    assert record(breaker, 100.0, BAD) == "75 % of 4 calls failed in 10 s"


def test_the_window_is_empty_after_recovery() -> None:
    breaker = make(failure_rate=0.5, min_calls=4)
    record(breaker, 100.0, BAD, BAD, BAD)
    breaker.half_open()
    for _ in range(2):
        end(breaker, 101.0, GOOD, probe(breaker, 101.0))
    assert record(breaker, 101.0, BAD) is None
    assert phase(breaker) == "closed"


def test_opened_by_hand_it_stays_open() -> None:
    ear = Ear()
    breaker = make(ear)
    breaker.open()
    assert (breaker.phase, breaker.until) == ("open", INF)
    assert breaker.permit(1e12) == INF
    assert repr(breaker) == "<Breaker users open by hand>"
    breaker.open()
    breaker.half_open()
    assert probe(breaker, 5.0)
    breaker.close()
    assert breaker.permit(5.0) == ORDINARY
    breaker.close()
    assert ear.heard == ["users closed -> open", "users open -> half-open", "users half-open -> closed"]


def test_an_open_one_is_opened_by_hand() -> None:
    breaker = tripped()
    breaker.open()
    assert breaker.until == INF
    assert repr(breaker) == "<Breaker users open by hand>"


def test_half_open_by_hand_begins_a_new_round() -> None:
    breaker = tripped()
    probe(breaker, 130.0)
    end(breaker, 130.0, GOOD, probe(breaker, 130.0))
    breaker.half_open()
    assert repr(breaker) == "<Breaker users half-open, 0 of 2 probes under way, 0 of 2 succeeded>"
    probe(breaker, 131.0)
    probe(breaker, 131.0)
    assert breaker.permit(131.0) == 10.0


def test_listeners_hear_outcomes_and_changes() -> None:
    ear = Ear()
    breaker = make(ear, fail_max=2)
    record(breaker, 100.0, GOOD, NEUTRAL, BAD, BAD)
    end(breaker, 130.0, GOOD, probe(breaker, 130.0))
    end(breaker, 131.0, BAD, probe(breaker, 131.0))
    failed = "an attempt to call users failed"
    assert ear.heard == [
        "success",
        failed,
        failed,
        "users closed -> open",
        "users open -> half-open",
        "success",
        failed,
        "users half-open -> open",
    ]


def test_listeners_see_the_rules() -> None:
    class Reader(pybreaker.CircuitBreakerListener):
        rules: tuple[object, ...] = ()

        def success(self, cb: pybreaker.CircuitBreaker) -> None:
            self.rules = cb.name, cb.fail_max, cb.reset_timeout, cb.success_threshold

    reader = Reader()
    breaker = Breaker("users", policy.Breaker(fail_max=7, reset_timeout=9.0, success_threshold=4), [reader])
    record(breaker, 100.0, GOOD)
    assert reader.rules == ("users", 7, 9.0, 4)


def test_it_follows_the_fleet() -> None:
    ear = Ear()
    breaker = make(ear)
    for _ in range(2):
        breaker.follow("open", 150.0)
    assert (breaker.phase, breaker.until, breaker.permit(140.0)) == ("open", 150.0, 10.0)
    breaker.follow("open", 160.0)
    assert (breaker.until, repr(breaker)) == (160.0, "<Breaker users open until 160.000>")
    for _ in range(2):
        breaker.follow("half-open", 0.0)
    assert breaker.until == 0
    probe(breaker, 141.0)
    breaker.follow("half-open", 0.0)
    assert "1 of 2 probes under way" in repr(breaker)
    for _ in range(2):
        breaker.follow("closed", 0.0)
    assert ear.heard == ["users closed -> open", "users open -> half-open", "users half-open -> closed"]


def test_following_what_it_is_already_keeps_its_own_counts() -> None:
    breaker = make()
    record(breaker, 100.0, BAD, BAD)
    breaker.follow("closed", 7.0)
    assert breaker.until == 0
    assert record(breaker, 100.0, BAD) == "3 calls in a row failed"
    breaker.follow("open", 135.0)
    assert repr(breaker) == "<Breaker users open until 135.000, 3 calls in a row failed>"


def test_switched_off_it_never_opens() -> None:
    ear = Ear()
    breaker = make(ear, enabled=False, failure_rate=0.1, min_calls=1)
    assert record(breaker, 100.0, *[BAD] * 50) is None
    breaker.open()
    breaker.follow("open", 200.0)
    assert (breaker.phase, breaker.permit(101.0)) == ("closed", ORDINARY)
    assert repr(breaker) == "<Breaker users off>"
    assert ear.heard == []


def test_probes_live_a_minute_by_default() -> None:
    breaker = Breaker("users", policy.Breaker(success_threshold=1))
    breaker.half_open()
    probe(breaker, 100.0)
    assert breaker.permit(100.0) == 60.0


def test_repr_tells_the_story() -> None:
    breaker = make()
    record(breaker, 100.0, BAD)
    assert repr(breaker) == "<Breaker users closed, 1 of 3 failures in a row>"
    record(breaker, 100.0, BAD, BAD)
    assert repr(breaker) == "<Breaker users open until 130.000, 3 calls in a row failed>"
    end(breaker, 130.0, GOOD, probe(breaker, 130.0))
    probe(breaker, 130.0)
    assert repr(breaker) == "<Breaker users half-open, 1 of 2 probes under way, 1 of 2 succeeded>"


class BeforeCalls(pybreaker.CircuitBreakerListener):
    """Hears of attempts, and not of what came of them."""

    def __init__(self) -> None:
        self.heard = 0

    def before_call(self, cb: pybreaker.CircuitBreaker, func: object, *args: object, **kwargs: object) -> None:
        self.heard += 1


def test_a_listener_that_wants_to_hear_of_attempts_hears_of_all() -> None:
    listener = BeforeCalls()
    breaker = Breaker("users", policy.Breaker(), [listener])
    for now in (1.0, 2.0):
        breaker.record(now, Health.GOOD, elapsed_s=0.1, permit=Permit(probe=False))
    assert listener.heard == 2
