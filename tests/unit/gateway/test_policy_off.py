"""What is inherited can be switched off again."""

import pytest

from gateway.policy import merge


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [("limit", "rate", "50/s"), ("hedge", "percentile", 95), ("breaker", "failure_rate", 0.3), ("timeouts", "read", 1)],
)
def test_false_switches_off_what_may_be_off(section: str, name: str, value: object) -> None:
    defaults = {section: {name: value}}
    assert getattr(getattr(merge(defaults), section), name) == value
    assert getattr(getattr(merge(defaults, {section: {name: False}}), section), name) is None


def test_false_stays_false_where_it_is_a_value() -> None:
    assert merge({"breaker": {"enabled": True}}, {"breaker": {"enabled": False}}).breaker.enabled is False
    assert merge({"hedge": {"percentile": 95}}, {"hedge": {"percentile": False, "after": 0.1}}).hedge.after == 0.1


def test_false_is_no_number() -> None:
    with pytest.raises(ValueError, match="Expected `int`"):
        merge({"retry": {"attempts": False}})
