"""What operators are told of a service, from the fields that workers write."""

from typing import Any

import pytest

from gateway.fleet_state import BreakerState, BudgetState, LimitState, ServiceState, read_state
from gateway.policy import Limit, Retry

NOW = 1_000.0


def state(
    breaker: dict[bytes, bytes] | None = None,
    limit: dict[bytes, bytes] | None = None,
    budget: dict[bytes, bytes] | None = None,
    first: list[tuple[Any, float]] | None = None,
) -> ServiceState:
    return read_state("users", NOW, breaker or {}, 1, limit or {}, 2, budget or {}, 3, first or [], {})


def test_what_never_happened_is_as_good_as_new() -> None:
    found = read_state("users", NOW, {}, 0, {}, 0, {}, 0, [], {})
    assert found == ServiceState(name="users", now=NOW)
    assert (found.breaker.phase, found.breaker.by_hand, found.blocked_s) == ("closed", False, 0.0)


def test_every_field_is_read() -> None:
    gate = {"phase": "half-open", "epoch": "7", "until": "990.5", "opened_at": "980.0", "closed_at": "900"}
    gate |= {"successes": "1", "granted": "2", "reason": "5 failures in a row", "by": "w1", "trips": "4"}
    bound = {b"tat": b"1000.5", b"blocked_until": b"1003.0", b"penalty_s": b"2.5", b"adaptive": b"31.7"}
    found = state(
        {name.encode(): value.encode() for name, value in gate.items()},
        bound,
        {b"tokens": b"-1.5", b"at": b"999.0"},
        [(b"c1", 1001.0)],
    )
    assert found.breaker == BreakerState(
        phase="half-open",
        epoch=7,
        until=990.5,
        opened_at=980.0,
        closed_at=900.0,
        successes=1,
        granted=2,
        probing=1,
        reason="5 failures in a row",
        by="w1",
        trips=4,
    )
    assert found.limit == LimitState(in_flight=2, arrival_at=1000.5, blocked_until=1003.0, penalty_s=2.5, adaptive=31.7)
    assert found.budget == BudgetState(tokens=-1.5, at=999.0)
    assert (found.parked, found.due_at, found.blocked_s) == (3, 1001.0, 3.0)


def test_what_cannot_be_read_does_not_stop_an_operator() -> None:
    found = state({b"phase": b"\xff", b"until": b"soon", b"trips": b"inf", b"epoch": b"nan", b"granted": b"1.0"})
    assert (found.breaker.until, found.breaker.trips, found.breaker.epoch) == (None, 0, 0)
    assert found.breaker.granted == 1
    assert found.breaker.phase == "\N{REPLACEMENT CHARACTER}"


def test_open_by_hand_is_open_without_an_end() -> None:
    assert state({b"phase": b"open", b"until": b"inf"}).breaker.by_hand
    assert not state({b"phase": b"open", b"until": b"1030"}).breaker.by_hand
    assert not state({b"phase": b"closed", b"until": b"inf"}).breaker.by_hand


@pytest.mark.parametrize(
    ("limit", "adaptive", "places"),
    [
        (Limit(concurrency=50), 7.0, 50),
        (Limit(concurrency=50, adaptive=True), None, 50),
        (Limit(concurrency=50, adaptive=True), 31.7, 31),
        (Limit(concurrency=50, adaptive=True), 0.2, 1),
        (Limit(concurrency=50, adaptive=True), 900.0, 50),
    ],
)
def test_how_many_may_be_on_the_wire(limit: Limit, adaptive: float | None, places: int) -> None:
    assert LimitState(adaptive=adaptive).concurrency(limit) == places


@pytest.mark.parametrize(
    ("limit", "arrival_at", "wait_s"),
    [
        (Limit(), 2_000.0, 0.0),
        (Limit(rate="10/s"), None, 0.0),
        (Limit(rate="10/s"), 999.0, 0.0),
        (Limit(rate="10/s"), 1000.3, 0.3),
        (Limit(rate="10/s", burst=3), 1000.3, 0.1),
        (Limit(rate="10/s", burst=3), 1000.1, 0.0),
    ],
)
def test_when_the_rate_lets_the_next_one_through(limit: Limit, arrival_at: float | None, wait_s: float) -> None:
    assert LimitState(arrival_at=arrival_at).next_in_s(NOW, limit) == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("tokens", "at", "retries"),
    [(None, None, 10.0), (5.0, 999.0, 15.0), (-4.0, 1000.0, -4.0), (99.0, 900.0, 100.0), (5.0, 1001.0, 5.0)],
)
def test_how_many_retries_can_be_paid(tokens: float | None, at: float | None, retries: float) -> None:
    assert BudgetState(tokens=tokens, at=at).tokens_at(NOW, Retry()) == pytest.approx(retries)
