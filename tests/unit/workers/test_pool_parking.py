"""While a call is being parked nothing else ends it, and what has ended is not parked."""

import asyncio
from typing import Any

import pytest
from celery.exceptions import Ignore, Retry
from kombu.message import Message

from gateway.errors import Delivery
from workers.job import Job
from workers.outcomes import Dropped, Parked
from workers.pool.ending import announce, cancelled_unsent, expired_unsent, give_up


def nothing(*_: Any) -> Any:
    return None


def job(outcome: Parked | Dropped | None = None, **headers: Any) -> tuple[Job, list[Any]]:
    """A job, and what Celery was told."""
    told: list[Any] = []
    made = Job(
        "i", nothing, ("gateway.call", "i", headers, ((), {}, {})), nothing, nothing, told.append, nothing, nothing
    )
    made.outcome = outcome
    made.source = Message(body="[]", content_type="application/json", content_encoding="utf-8")
    return made, told


def test_who_parks_first_is_not_silenced() -> None:
    one, _ = job()
    assert [one.parking, one.message()[:4], one.parking] == [False, b'{"v"', True]
    assert not one.silence()
    assert not one.silenced
    assert one.message(), "asked again"


def test_who_is_silenced_first_is_not_parked() -> None:
    one, _ = job()
    assert one.silence()
    assert one.silenced
    with pytest.raises(asyncio.CancelledError):
        one.message()
    assert not one.parking
    assert one.silence(), "asked again"


@pytest.mark.parametrize("end", [announce, give_up])
def test_a_parked_call_is_a_retry_that_reads_well(end: Any) -> None:
    one, told = job(Parked("the breaker is open", 1_800_000_000.25))
    end(one)
    (information,) = told
    assert isinstance(information.exception, Retry)
    assert repr(information.exception.exc) == "parked: the breaker is open, until 08:00:00 UTC"
    assert information.traceback == ""
    one, told = job(Parked("the limit is reached", None))
    end(one)
    assert repr(told[0].exception.exc) == "parked: the limit is reached"


@pytest.mark.parametrize("end", [announce, give_up])
def test_a_dropped_message_is_ignored(end: Any) -> None:
    one, told = job(Dropped("a duplicate"))
    end(one)
    assert isinstance(getattr(told[0].exception, "exc", told[0].exception), Ignore)


@pytest.mark.parametrize("end", [cancelled_unsent, expired_unsent])
def test_one_that_may_have_been_sent_before_it_was_parked_says_so(end: Any) -> None:
    assert end(job()[0]).delivery is Delivery.NOT_SENT
    assert end(job(gateway_parks=1, gateway_maybe=0)[0]).delivery is Delivery.NOT_SENT
    assert end(job(gateway_parks=1, gateway_maybe=1)[0]).delivery is Delivery.MAYBE_SENT
