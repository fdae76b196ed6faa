"""Calls that may not begin yet wait outside of the workers, however many there are; each is sent once, at its time."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import redis

from gateway import RestCall
from gateway.errors import DeadlineExceededError, Delivery
from tests.integration.pool_rig import eventually
from tests.integration.stack import Stack

GET_ADA = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"})
#: More than Celery's timer in the worker waits for.
LONG_S = 7.0


def test_many_are_kept_outside_and_sent_at_their_time(stack: Stack) -> None:
    signature = stack.gateway.signature(GET_ADA, deadline=60.0)
    began = time.monotonic()
    eta = datetime.now(UTC) + timedelta(seconds=LONG_S)
    results = [signature.clone().apply_async(eta=eta) for _ in range(300)]
    with (
        redis.Redis.from_url(stack.settings.broker_url) as broker,
        redis.Redis.from_url(stack.settings.result_url) as store,
    ):
        eventually(lambda: store.zcard("gateway:parked:user-service") == len(results), "all are parked", LONG_S - 2)
        eventually(lambda: broker.hlen("unacked") == 0, "and acknowledged")
        assert time.monotonic() - began < LONG_S
    replies = [result.get(timeout=20) for result in results]
    assert time.monotonic() - began >= LONG_S - 0.1
    assert {reply["status"] for reply in replies} == {200}
    assert {reply["attempts"] for reply in replies} == {1}


def test_one_whose_deadline_comes_first_ends_at_its_deadline(stack: Stack) -> None:
    began = time.monotonic()
    result = stack.gateway.signature(GET_ADA, deadline=2.0).apply_async(countdown=60)
    with pytest.raises(DeadlineExceededError) as caught:
        result.get(timeout=10)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert 1.9 < time.monotonic() - began < 6


def test_one_that_is_cancelled_meanwhile_is_not_sent(stack: Stack) -> None:
    result = stack.gateway.signature(GET_ADA, deadline=60.0).apply_async(countdown=LONG_S)
    pending = stack.gateway.pending(result.id)
    with redis.Redis.from_url(stack.settings.result_url) as store:
        eventually(lambda: store.zcard("gateway:parked:user-service") == 1, "it is parked")
    pending.cancel()
    with pytest.raises(Exception, match="cancelled"):
        pending.result(timeout=LONG_S + 10)
