"""A worker whose own clock is wrong: deadlines are read in the time of the shared Redis."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from gateway import RestCall
from gateway.catalogue import Catalogue
from gateway.clock import FleetClock
from gateway.codec import encode
from gateway.dev.valkey import Valkey
from gateway.envelope import Envelope
from gateway.errors import DeadlineExceededError
from gateway.reply import Reply
from tests.integration.stack import Stack
from workers.executor import Executor


@pytest.fixture(params=[-3600.0, 3600.0], ids=["an hour behind", "an hour ahead"])
async def executor(request: pytest.FixtureRequest, valkey: Valkey, stack: Stack) -> AsyncIterator[Executor]:
    url = stack.environment["USER_SERVICE_URL"]
    catalogue = Catalogue.parse(
        {
            "services": {
                "user-service": {
                    "rest": {"url": url},
                    "auth": {"type": "service-key", "secret": "env:INTERNAL_API_KEY"},
                }
            }
        }
    )
    made = Executor(
        catalogue,
        stack.environment,
        result_url=valkey.url(9),
        result_prefix="celery-task-meta-",
        worker="skewed",
        clock=FleetClock(wall=lambda: time.time() + request.param),
    )
    await made.start()
    yield made
    await made.close()
    client: Any = redis.Redis.from_url(valkey.url(9))
    client.flushdb()
    client.close()


async def perform(executor: Executor, call_id: str, deadline_in_s: float) -> object:
    call = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"})
    envelope = Envelope(version=1, call=call, deadline_at=time.time() + deadline_in_s, sent_at=time.time())
    return await executor.perform(call_id, (), encode(envelope), {}, lambda: b"")


async def test_a_deadline_means_what_its_producer_meant(executor: Executor) -> None:
    reply = await perform(executor, "in-time", 10.0)
    assert isinstance(reply, Reply), reply
    assert reply.timing.queued is not None
    assert reply.timing.queued < 5
    late = await perform(executor, "late", -1.0)
    assert isinstance(late, DeadlineExceededError)
    assert late.attempts == 0
