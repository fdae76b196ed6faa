"""Tokens for retries."""

import pytest

from gateway.policy import Retry
from workers.resilience.budget import Budget


def test_it_starts_with_one_second_of_the_constant() -> None:
    budget = Budget(Retry(budget=0.2, budget_per_s=3.0))
    assert [budget.withdraw(100.0, 0.0) for _ in range(4)] == [0, 0, 0, None]


def test_calls_pay_in_their_share() -> None:
    budget = Budget(Retry(budget=0.25, budget_per_s=0.0))
    for calls in (1, 2, 3):
        budget.deposit(100.0)
        assert budget.withdraw(100.0, 60.0) is None, calls
    budget.deposit(100.0)
    assert budget.withdraw(100.0, 60.0) == 0
    assert budget.withdraw(100.0, 60.0) is None


def test_time_pays_in_the_constant() -> None:
    budget = Budget(Retry(budget=0.0, budget_per_s=2.0))
    assert [budget.withdraw(100.0, 0.0) for _ in range(3)] == [0, 0, None]
    assert budget.withdraw(100.4, 0.0) is None
    assert budget.withdraw(100.5, 0.0) == 0
    assert budget.withdraw(100.5, 0.0) is None


def test_deposits_take_note_of_the_time() -> None:
    budget = Budget(Retry(budget=0.0, budget_per_s=2.0))
    budget.deposit(100.0)
    assert budget.tokens == 2
    budget.deposit(103.0)
    assert budget.tokens == 8


def test_tokens_are_promised_one_after_the_other() -> None:
    budget = Budget(Retry(budget=0.0, budget_per_s=2.0))
    assert [budget.withdraw(100.0, 1.0) for _ in range(5)] == [0, 0, 0.5, 1.0, None]
    assert budget.tokens == -2
    assert budget.withdraw(101.0, 0.4) is None
    assert budget.withdraw(101.0, 0.5) == 0.5


def test_without_a_constant_nothing_is_promised() -> None:
    budget = Budget(Retry(budget=0.5, budget_per_s=0.0))
    assert budget.withdraw(100.0, float("inf")) is None


def test_what_is_saved_up_is_bounded() -> None:
    budget = Budget(Retry(budget=1.0, budget_per_s=10.0))
    budget.deposit(0.0)
    budget.deposit(1e6)
    assert budget.tokens == 100
    budget.deposit(1e6)
    assert budget.tokens == 100
    assert Budget(Retry(budget_per_s=1000.0)).tokens == 100


def test_a_clock_that_goes_back_pays_nothing_twice() -> None:
    budget = Budget(Retry(budget=0.0, budget_per_s=1.0))
    budget.deposit(100.0)
    budget.deposit(90.0)
    assert budget.tokens == 1
    budget.deposit(100.0)
    assert budget.tokens == 1
    budget.deposit(101.0)
    assert budget.tokens == pytest.approx(2)


def test_repr() -> None:
    assert repr(Budget(Retry(budget=0.2, budget_per_s=10.0))) == "<Budget 10.0 retries, +0.2 a call, +10/s>"
