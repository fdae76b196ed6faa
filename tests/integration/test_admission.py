"""One question for many calls, and calls that go on when nobody answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from gateway.dev.valkey import Valkey
from gateway.records import key_of
from workers.admission import Admission


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, which it may stop."""
    server = Valkey(tmp_path)
    yield server
    server.stop()


@pytest.fixture
async def admission(store: Valkey) -> AsyncIterator[Admission]:
    made = Admission(store.url(), "worker-1")
    yield made
    await made.close()


@pytest.fixture
def records(store: Valkey) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(store.url(), decode_responses=True) as client:
        yield client


async def test_a_call_is_marked_as_running(admission: Admission, records: "redis.Redis") -> None:
    records.hset(key_of("a"), mapping={"state": "pending", "deadline_at": "7.0"})
    assert await admission.begin("a", 9.0)
    assert await admission.begin("b", 9.0)
    assert records.hgetall(key_of("a")) == {"state": "running", "worker": "worker-1", "deadline_at": "7.0"}
    assert records.hgetall(key_of("b")) == {"state": "running", "worker": "worker-1", "deadline_at": "9.0"}
    assert 0 < int(records.ttl(key_of("b"))) <= 25 * 3600


async def test_a_cancelled_call_is_stopped_among_others(admission: Admission, records: "redis.Redis") -> None:
    records.hset(key_of("7"), mapping={"state": "cancelled"})
    answers = await asyncio.gather(*(admission.begin(str(number), 9.0) for number in range(50)))
    assert [number for number, answer in enumerate(answers) if not answer] == [7]


async def test_calls_of_one_tick_share_a_round_trip(admission: Admission, records: "redis.Redis") -> None:
    await admission.begin("first", 9.0)  # connects, and loads the script
    before = records.info("commandstats")
    reads = records.info("stats")["total_reads_processed"]
    await asyncio.gather(*(admission.begin(str(number), 9.0) for number in range(50)))
    after = records.info("commandstats")
    assert after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"] == 50
    assert after["cmdstat_script|load"]["calls"] == before["cmdstat_script|load"]["calls"]
    # One for the calls and one for each of our own two questions.
    assert records.info("stats")["total_reads_processed"] - reads <= 4


async def test_a_server_that_forgot_the_script_learns_it_again(admission: Admission, records: "redis.Redis") -> None:
    assert await admission.begin("a", 9.0)
    records.script_flush()
    records.hset(key_of("b"), mapping={"state": "cancelled"})
    assert not await admission.begin("b", 9.0)


async def test_calls_go_on_when_the_store_does_not_answer(store: Valkey, admission: Admission) -> None:
    import signal

    assert await admission.begin("a", 9.0)
    store.process.signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        async with asyncio.timeout(10):
            assert all(await asyncio.gather(*(admission.begin(str(number), 9.0) for number in range(20))))
            waited = time.monotonic() - started
            assert await admission.begin("later", 9.0), "it is left alone for a while"
        assert time.monotonic() - started - waited < waited
    finally:
        store.process.signal(signal.SIGCONT)


async def test_whatever_goes_wrong_no_call_is_left_waiting(admission: Admission, records: "redis.Redis") -> None:
    records.set(key_of("a"), "not a hash")
    async with asyncio.timeout(10):
        assert all(await asyncio.gather(admission.begin("a", 9.0), admission.begin("b", 9.0)))
        admission._sha = object()  # type: ignore[assignment]  # what the client cannot even encode
        assert await admission.begin("c", 9.0)
