"""What becomes a dead letter, what is told of it, and which are meant."""

import msgspec
import pytest

from gateway import errors
from gateway.dead_letter import (
    MOST_ATTEMPTS,
    NO_ANSWER,
    AttemptMade,
    Cause,
    DeadLetter,
    Reason,
    is_kept,
    merge,
    pack_history,
    read_history,
)
from gateway.dead_selection import Selection
from gateway.errors import Delivery, ServiceError


def made(number: int, *, at: float = 0.0, worker: str = "w:1", outcome: str = "ServiceFaultError") -> AttemptMade:
    return AttemptMade(number=number, at=at or float(number), took_s=0.1, worker=worker, outcome=outcome)


def letter(**fields: object) -> DeadLetter:
    cause = Cause(type="ServiceFaultError", message="answered 500", delivery=Delivery.ANSWERED, status=500)
    return msgspec.structs.replace(DeadLetter(id="c1", reason=Reason.FAILED, cause=cause, service="users"), **fields)


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name.endswith("Error")])
def test_what_is_kept(name: str) -> None:
    """Not what its producer cancelled, and not what the service refused; credentials can be put right."""
    kind: type[ServiceError] = getattr(errors, name)
    assert is_kept(kind) is (name not in {"CallCancelledError", "ServiceRejectedError", "GraphQLError"})


def test_a_history_survives_its_way() -> None:
    history = [made(1), made(2, outcome=NO_ANSWER)]
    assert read_history(pack_history(history)) == tuple(history)
    assert len(read_history(pack_history([made(number) for number in range(1, 200)]))) == MOST_ATTEMPTS
    for broken in ("", "{", "[1]", '[{"number": "x"}]', b"\xff"):
        assert read_history(broken) == ()


def test_histories_of_several_workers_are_one() -> None:
    first, second, hedge = made(1), made(2), made(2, at=2.5)
    third = made(3, worker="w:2")
    assert merge([first, second], [second, hedge, third]) == (first, second, hedge, third)
    many = [made(number) for number in range(1, 200)]
    assert [attempt.number for attempt in merge(many)] == list(range(200 - MOST_ATTEMPTS, 200))


def test_what_may_have_acted() -> None:
    assert not letter().may_have_acted
    assert letter(repeatable=False).may_have_acted
    assert letter(reason=Reason.POISONOUS).may_have_acted


@pytest.mark.parametrize(
    ("selection", "is_meant"),
    [
        (Selection(), True),
        (Selection(service="users", error="servicefaulterror", reason=Reason.FAILED, since_s=60, replayed=False), True),
        (Selection(service="user"), False),
        (Selection(error="ServiceError"), False),
        (Selection(reason=Reason.POISONOUS), False),
        (Selection(since_s=49), False),
        (Selection(replayed=True), False),
    ],
)
def test_which_are_meant(selection: Selection, is_meant: bool) -> None:
    assert selection.has(letter(died_at=50.0), now=100.0) is is_meant
    assert selection.is_all is (selection == Selection())
