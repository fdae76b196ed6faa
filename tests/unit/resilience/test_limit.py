"""Slots of a rate, and blocks that are learned."""

import pytest

from gateway.policy import Limit
from workers.resilience.limit import Penalty, RateLimit


def test_a_burst_of_one_spaces_evenly() -> None:
    limit = RateLimit(Limit(rate="50/s"))
    assert [limit.take(100.0, 1.0) for _ in range(4)] == pytest.approx([0, 0.02, 0.04, 0.06])
    assert limit.wait_s(100.0) == pytest.approx(0.08)
    assert limit.wait_s(100.08) == pytest.approx(0, abs=1e-9)


def test_a_burst_comes_at_once_and_then_the_rate() -> None:
    limit = RateLimit(Limit(rate="10/s", burst=3))
    assert [limit.take(100.0, 1.0) for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])


def test_unused_slots_are_saved_up_to_the_burst() -> None:
    limit = RateLimit(Limit(rate="10/s", burst=3))
    for _ in range(5):
        limit.take(100.0, 1.0)
    assert [limit.take(200.0, 1.0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])


def test_a_slot_that_comes_too_late_is_not_taken() -> None:
    limit = RateLimit(Limit(rate="1/s"))
    assert limit.take(100.0, 0.0) == 0
    assert limit.take(100.0, 0.99) is None
    assert limit.take(100.0, 0.99) is None
    assert limit.take(100.0, 1.0) == 1.0
    assert limit.take(100.0, 1.5) is None


@pytest.mark.parametrize("now", [0.1, 1e-9, 12345.678, 1.7e9 + 0.123456])
@pytest.mark.parametrize("rate", ["3/s", "7/m", "999/h", "30000/s"])
def test_the_first_needs_no_patience_whatever_the_numbers_round_to(now: float, rate: str) -> None:
    assert RateLimit(Limit(rate=rate)).take(now, 0.0) == 0
    assert RateLimit(Limit(rate=rate, burst=9)).take(now, 0.0) == 0


def test_without_a_rate_nobody_waits() -> None:
    limit = RateLimit(Limit())
    assert [limit.take(100.0, 0.0) for _ in range(1000)] == [0.0] * 1000
    assert limit.wait_s(100.0) == 0


def test_asking_takes_nothing() -> None:
    limit = RateLimit(Limit(rate="1/s"))
    assert [limit.wait_s(100.0) for _ in range(3)] == [0, 0, 0]


def test_repr_of_a_limit() -> None:
    assert repr(RateLimit(Limit(rate="200/s", burst=5))) == "<RateLimit 200/s, burst 5>"
    assert repr(RateLimit(Limit())) == "<RateLimit none>"


def test_the_service_says_how_long() -> None:
    penalty = Penalty()
    penalty.learn(100.0, 7.0)
    assert (penalty.blocked_until, penalty.penalty_s, penalty.wait_s(100.5)) == (107.0, 0.0, 6.5)
    penalty.learn(101.0, 2.0)
    assert penalty.blocked_until == 107.0
    assert penalty.wait_s(108.0) == 0


def test_where_it_says_nothing_the_block_doubles() -> None:
    penalty = Penalty()
    blocks = []
    for _ in range(9):
        now = penalty.blocked_until + 10.0
        penalty.learn(now, None)
        blocks.append(penalty.blocked_until - now)
    assert blocks == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_refusals_within_a_block_are_the_same_news() -> None:
    penalty = Penalty()
    penalty.learn(100.0, None)
    penalty.learn(100.2, None)
    assert (penalty.penalty_s, penalty.blocked_until) == (0.5, 100.7)
    penalty.learn(100.7, None)
    assert (penalty.penalty_s, penalty.blocked_until) == (1.0, 101.7)


def test_a_refusal_within_a_block_that_the_service_asked_for_changes_nothing() -> None:
    penalty = Penalty()
    penalty.learn(100.0, 5.0)
    penalty.learn(101.0, None)
    assert (penalty.penalty_s, penalty.blocked_until) == (0.0, 105.0)


def test_a_good_answer_a_while_later_forgives() -> None:
    penalty = Penalty()
    penalty.learn(100.0, None)
    penalty.learn(101.0, None)
    assert penalty.blocked_until == 102.0
    penalty.forgive(102.9)
    assert penalty.penalty_s == 1.0
    penalty.forgive(103.0)
    assert penalty.penalty_s == 0.0
    penalty.learn(110.0, None)
    assert penalty.penalty_s == 0.5


def test_repr_of_a_penalty() -> None:
    penalty = Penalty()
    assert repr(penalty) == "<Penalty none>"
    penalty.learn(100.0, None)
    assert repr(penalty) == "<Penalty until 100.500, latest 0.5 s>"


def test_no_answer_blocks_a_service_for_more_than_five_minutes() -> None:
    penalty = Penalty()
    penalty.learn(100.0, 999_999_999.0)
    assert penalty.blocked_until == 400.0
    penalty.learn(100.0, 299.0)
    assert penalty.blocked_until == 400.0
