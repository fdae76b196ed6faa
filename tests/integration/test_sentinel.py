"""A result store behind Sentinels: it is found, and found again when another server becomes the master."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from gateway import CallState, Gateway, RestCall, Settings
from gateway.catalogue import Catalogue
from gateway.checks import Level, check_worker
from gateway.errors import GatewayUnavailableError
from gateway.redis_client import ERRORS, open_async, open_sync
from gateway.waiter import Waiter
from tests.servers.sentinel import Watched

SECRET, SENTINEL_SECRET = "s;p c@1", "hunter2"
CALL = RestCall("users", "GET", "/")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """For tests that leave the master alone."""
    with Watched(tmp_path_factory.mktemp("watched"), sentinel_password=SENTINEL_SECRET) as made:
        yield made


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Watched]:
    """For tests that kill it."""
    with Watched(tmp_path) as made:
        yield made


def eventually(done: Callable[[], bool], *, within_s: float = 20.0) -> None:
    ends_at = time.monotonic() + within_s
    while True:
        try:
            if done():
                return
        except ERRORS:
            pass
        assert time.monotonic() < ends_at, "it did not come about"
        time.sleep(0.05)


def test_the_master_is_found_past_a_sentinel_that_is_away(watched: Watched) -> None:
    with open_sync(watched.url(3)) as client:
        assert client.info("replication")["role"] == "master"
        client.set("here", "1")
    with redis.Redis(port=watched.master_port, db=3) as direct:
        assert direct.get("here") == b"1"


async def test_the_master_is_found_by_an_asyncio_client(watched: Watched) -> None:
    async with open_async(watched.url(3)) as client:
        assert (await client.info("replication"))["role"] == "master"


def test_sentinels_that_do_not_know_the_master_are_an_error_of_the_store(watched: Watched) -> None:
    wrong = watched.url().replace("the-master", "another")
    with open_sync(wrong) as client, pytest.raises(ERRORS):
        client.ping()


def test_secrets_that_need_quoting(tmp_path: Path) -> None:
    with Watched(tmp_path, password=SECRET) as watched:
        url = watched.url(2).replace(SECRET, "s%3Bp%20c%401")
        settings = Settings.from_env({"GATEWAY_BROKER_URL": url})
        assert "s%3Bp" not in repr(settings)
        with open_sync(settings.result_url) as client:
            client.set("here", "1")
            assert client.get("here") == b"1"


def test_a_client_finds_the_new_master(mortal: Watched) -> None:
    with open_sync(mortal.url()) as client:
        client.set("kept", "1")
        client.execute_command("WAIT", 1, 2000)
        old = mortal.kill_master()
        eventually(lambda: bool(client.set("after", "2")))
        assert mortal.master_port != old
        assert client.get("kept") == b"1"


async def test_an_asyncio_client_finds_the_new_master(mortal: Watched) -> None:
    async with open_async(mortal.url()) as client:
        await client.set("before", "1")
        mortal.kill_master()
        for _ in range(400):
            try:
                await client.set("after", "2")
                break
            except ERRORS:
                await asyncio.sleep(0.05)
        assert await client.get("after") == b"2"


def test_a_connection_to_a_master_that_was_demoted_is_made_anew(watched: Watched) -> None:
    before = watched.master_port
    with (
        open_sync(watched.url()) as client,
        redis.Redis(port=watched.sentinel_ports[0], password=SENTINEL_SECRET) as sentinel,
    ):
        client.set("before", "1")
        # By hand, as for maintenance: nobody dies, and the old master answers all the time.
        eventually(lambda: bool(sentinel.execute_command("SENTINEL", "FAILOVER", "the-master")))
        eventually(lambda: watched.master_port != before)
        # Sentinels tell the old master up to ten seconds later; what it takes until then is lost.
        with redis.Redis(port=before) as old:
            old.replicaof("127.0.0.1", watched.master_port)
        with redis.Redis(port=watched.master_port) as direct:
            eventually(lambda: bool(client.set("after", "2")) and direct.get("after") == b"2")


def test_who_waits_gets_the_result_from_the_new_master(mortal: Watched) -> None:
    waiter = Waiter(mortal.url(), lambda call_id: f"result-{call_id}", is_final=lambda payload: True, silence_s=1.0)
    try:
        future = waiter.watch("a")
        port = mortal.master_port
        with redis.Redis(port=port) as direct:
            eventually(lambda: bool(direct.pubsub_channels("result-a")))
        mortal.kill_master()
        with open_sync(mortal.url()) as client:
            eventually(lambda: bool(client.set("result-a", "of a")))
        assert future.result(20) == b"of a"
        # And what comes after is announced by the new one.
        later = waiter.watch("b")
        with redis.Redis(port=mortal.master_port) as direct:
            eventually(lambda: bool(direct.pubsub_channels("result-b")))
            direct.publish("result-b", "of b")
        assert later.result(5) == b"of b"
    finally:
        waiter.close()


def test_what_a_worker_checks(watched: Watched) -> None:
    catalogue = Catalogue.parse({"services": {"users": {"rest": {"url": "http://users"}}}})
    url = watched.url()
    settings = Settings(broker_url=url, result_url=url)
    assert [finding.level for finding in check_worker(settings, catalogue, {}, patience_s=0)] == [Level.OK]
    wrong = watched.url().replace("the-master", "another")
    (error,) = check_worker(Settings(broker_url=wrong, result_url=wrong), catalogue, {}, patience_s=0)
    assert "Sentinels name no master" in error.found
    assert "correct master_name in GATEWAY_BROKER_URL" in error.cure
    replica = next(port for port in watched.ports if port != watched.master_port)
    url = f"redis://127.0.0.1:{replica}/0"
    (error,) = check_worker(Settings(broker_url=url, result_url=url), catalogue, {}, patience_s=0)
    assert error.found == "is a replica, which takes no calls and no results"


def test_a_producer_through_a_failover(mortal: Watched) -> None:
    settings = Settings.from_env({"GATEWAY_BROKER_URL": mortal.url(), "GATEWAY_RESULT_URL": mortal.url(1)})
    with Gateway(settings) as gateway:
        began = time.monotonic()
        before = gateway.submit(CALL, deadline=60.0)
        assert time.monotonic() - began < 3, "a Sentinel that is away holds nobody up"
        with redis.Redis(port=mortal.master_port) as direct:
            direct.execute_command("WAIT", 1, 2000)
        mortal.kill_master()
        accepted: list[str] = []

        def accepts() -> bool:
            try:
                accepted.append(gateway.submit(CALL, deadline=60.0).id)
            except GatewayUnavailableError:
                return False
            return True

        eventually(accepts)
        assert gateway.pending(accepted[0]).state is before.state is CallState.PENDING
        with redis.Redis(port=mortal.master_port) as direct:
            assert direct.llen("gateway") >= 2, "the calls from before and after are in the new master's queue"
