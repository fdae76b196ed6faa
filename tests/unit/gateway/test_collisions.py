"""What cannot act together: each rule speaks from the value on at which it is true; the defaults collide nowhere."""

from typing import Any

import pytest

from gateway.collisions import backoff_bounds_s, collisions, worst_case_s
from gateway.policy import Policy, merge


def found(
    deadline_s: float | None = 30.0,
    visibility_s: float | None = 310.0,
    idempotent: bool | None = True,
    **tables: dict[str, Any],
) -> list[str]:
    return list(collisions(merge(tables), deadline_s=deadline_s, visibility_s=visibility_s, idempotent=idempotent))


def test_the_defaults_collide_nowhere() -> None:
    assert found() == []
    assert found(deadline_s=None) == []


@pytest.mark.parametrize(
    ("attempts", "backoff", "max_backoff", "together"),
    [(1, 0.1, 5.0, 0.0), (2, 0.1, 5.0, 0.1), (4, 0.1, 5.0, 0.7), (5, 1.0, 3.0, 1 + 2 + 3 + 3), (3, 9.0, 5.0, 10.0)],
)
def test_backoffs_double_up_to_their_bound(attempts: int, backoff: float, max_backoff: float, together: float) -> None:
    policy = merge({"retry": {"attempts": attempts, "backoff": backoff, "max_backoff": max_backoff}})
    assert backoff_bounds_s(policy) == pytest.approx(together)
    assert worst_case_s(policy) == pytest.approx(attempts * 3.0 + together)


@pytest.mark.parametrize("attempts", [2_000, 1_000_000])
def test_many_attempts_are_no_overflow(attempts: int) -> None:
    assert backoff_bounds_s(merge({"retry": {"attempts": attempts}})) > 4.9 * (attempts - 10)


# Each: what does not collide yet, what does, and what is said of it.
EDGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"timeouts": {"total": 9.3}},
        {"timeouts": {"total": 9.2}},
        "3 attempts of 3 s and the waits between them take up to 9.3 s, longer than timeouts.total of 9.2 s",
    ),
    (
        {"deadline_s": 10.0, "breaker": {"enabled": False}},
        {"deadline_s": 9.9, "breaker": {"enabled": False}},
        "it never",
    ),
    (
        {"deadline_s": 3.0, "timeouts": {"total": 3.0}, "retry": {"attempts": 1}, "breaker": {"reset_timeout": 1.0}},
        {"deadline_s": 2.9, "timeouts": {"total": 3.0}, "retry": {"attempts": 1}, "breaker": {"reset_timeout": 1.0}},
        "the deadline ends the first attempt",
    ),
    ({"deadline_s": 310.0}, {"deadline_s": 311.0}, "longer than the broker's visibility timeout of 310 s"),
    (
        {"hedge": {"after": 2.9}},
        {"hedge": {"after": 3.0}},
        "hedge.after of 3 s is not shorter than timeouts.attempt of 3 s",
    ),
    ({"hedge": {"after": 0.1}}, {"hedge": {"after": 0.1}, "idempotent": False}, "hedge is on, and the call may not be"),
    (
        {"hedge": {"percentile": 95.0}, "idempotent": None},
        {"hedge": {"percentile": 95.0}, "idempotent": False},
        "hedge is on, and the call may not be",
    ),
    ({"retry": {"budget": 0.0}}, {"retry": {"budget": 0.0, "budget_per_s": 0.0}}, "pay for no second attempt"),
    (
        {"retry": {"attempts": 1, "budget": 0.0, "budget_per_s": 0.0}},
        {"retry": {"attempts": 1, "budget": 0.0, "budget_per_s": 0.0}, "hedge": {"after": 0.1}},
        "pay for no second attempt",
    ),
    (
        {"breaker": {"reset_timeout": 30.0}},
        {"breaker": {"reset_timeout": 30.1}},
        "breaker.reset_timeout of 30.1 s is longer than the deadline of 30 s",
    ),
    (
        {"breaker": {"reset_timeout": 99.0, "enabled": False}},
        {"breaker": {"reset_timeout": 99.0}},
        "breaker.reset_timeout of 99 s",
    ),
]


@pytest.mark.parametrize(("fits", "collides", "said"), EDGES)
def test_the_edge_of_each_rule(fits: dict[str, Any], collides: dict[str, Any], said: str) -> None:
    assert found(**fits) == []
    (line,) = found(**collides)
    assert said in line
    assert "; " in line  # the cure


def test_one_attempt_has_nothing_to_be_cut_short() -> None:
    assert found(retry={"attempts": 1}, timeouts={"total": 3.0}) == []


def test_without_a_deadline_nothing_is_said_of_it() -> None:
    slow: dict[str, Any] = {"timeouts": {"total": 900.0, "attempt": 200.0}, "breaker": {"reset_timeout": 999.0}}
    assert len(found(**slow)) == 2
    assert found(deadline_s=None, **slow) == []


def test_rabbitmq_has_no_visibility_timeout() -> None:
    assert found(deadline_s=86_400.0, visibility_s=None) == []


def test_the_default_policy_is_what_is_measured() -> None:
    assert worst_case_s(Policy()) == pytest.approx(9.3)
