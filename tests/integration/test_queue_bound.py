"""A producer that is faster than the service: refused at `submit`, with nothing left behind."""

import tomllib
from collections.abc import Iterator

import pytest
import redis

from gateway import Catalogue, Gateway, RestCall, Settings
from gateway.dev.valkey import Valkey
from gateway.errors import QueueFullError
from gateway.fleet_keys import parked

CALL = RestCall("small", "GET", "/")
CATALOGUE = """
[services.small]
rest.url = "http://127.0.0.1:1"
limit.queue = 10
"""


@pytest.fixture
def gateway(valkey: Valkey) -> Iterator[Gateway]:
    """No worker listens: what is enqueued stays."""
    for database in (4, 5):
        with redis.Redis.from_url(valkey.url(database)) as client:
            client.flushdb()
    settings = Settings(broker_url=valkey.url(4), result_url=valkey.url(5))
    with Gateway(settings, Catalogue.parse(tomllib.loads(CATALOGUE))) as made:
        yield made


def records(gateway: Gateway) -> int:
    with redis.Redis.from_url(gateway.settings.result_url) as client:
        return sum(1 for _ in client.scan_iter("gateway:call:*"))


def test_the_eleventh_call_is_refused(gateway: Gateway) -> None:
    gateway.submit_many([CALL] * 9)
    gateway.submit(CALL)
    with pytest.raises(QueueFullError, match=r"limit\.queue") as caught:
        gateway.submit(CALL)
    assert (caught.value.waiting, caught.value.bound) == (10, 10)
    assert records(gateway) == 10


def test_another_producer_sees_what_waits(gateway: Gateway) -> None:
    gateway.submit_many([CALL] * 8)
    with Gateway(gateway.settings, gateway.catalogue) as other:
        with pytest.raises(QueueFullError):
            other.submit_many([CALL] * 3)
        other.submit_many([CALL] * 2)


def test_parked_calls_wait_too(gateway: Gateway) -> None:
    with redis.Redis.from_url(gateway.settings.result_url) as client:
        client.zadd(parked("small"), {f"call-{number}": number for number in range(7)})
    with pytest.raises(QueueFullError) as caught:
        gateway.submit_many([CALL] * 4)
    assert caught.value.waiting == 7
    gateway.submit_many([CALL] * 3)


async def test_asubmit_says_the_same(gateway: Gateway) -> None:
    await gateway.asubmit_many([CALL] * 10)
    with pytest.raises(QueueFullError):
        await gateway.asubmit(CALL)
