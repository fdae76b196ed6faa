"""Waiting for results through everything that the result store does."""

import concurrent.futures
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gateway.dev.valkey import Valkey
from gateway.waiter import Waiter
from tests.servers.proxy import Proxy


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, which it may stop."""
    server = Valkey(tmp_path, append_only=True)
    yield server
    server.stop()


def waiter_of(url: str, *, silence_s: float = 5.0) -> Waiter:
    return Waiter(
        url,
        lambda call_id: f"result-{call_id}",
        is_final=lambda payload: not payload.startswith(b"note"),
        silence_s=silence_s,
    )


@pytest.fixture
def waiter(store: Valkey) -> Iterator[Waiter]:
    made = waiter_of(store.url())
    yield made
    listener = made._listener
    made.close()
    assert listener is None or not listener.is_alive


def finish(store: Valkey, call_id: str, *, announce: bool = True) -> None:
    """What Celery does with a result."""
    with redis.Redis.from_url(store.url()) as client:
        client.set(f"result-{call_id}", f"of {call_id}")
        if announce:
            client.publish(f"result-{call_id}", f"of {call_id}")


def subscriptions(store: Valkey) -> set[str]:
    with redis.Redis.from_url(store.url()) as client:
        return {channel.decode() for channel in client.pubsub_channels("result-*")}


def wait_for_subscription(store: Valkey, *call_ids: str) -> None:
    ends = threading.Event()
    for _ in range(500):
        if {f"result-{call_id}" for call_id in call_ids} <= subscriptions(store):
            return
        ends.wait(0.01)
    raise AssertionError("nothing was subscribed to")


def test_a_result_from_before_is_found(store: Valkey, waiter: Waiter) -> None:
    finish(store, "a")
    assert waiter.watch("a").result(5) == b"of a"
    assert waiter.watch("a").result(5) == b"of a"


def test_a_result_that_comes_is_announced(store: Valkey, waiter: Waiter) -> None:
    future = waiter.watch("a")
    wait_for_subscription(store, "a")
    finish(store, "a")
    assert future.result(5) == b"of a"


def test_many_wait_for_many(store: Valkey, waiter: Waiter) -> None:
    names = [str(number) for number in range(300)]
    futures = [waiter.watch(name) for name in names for _ in range(2)]
    wait_for_subscription(store, *names)
    for name in reversed(names):
        finish(store, name)
    concurrent.futures.wait(futures, 10)
    assert [future.result(0) for future in futures] == [f"of {name}".encode() for name in names for _ in range(2)]


def test_who_no_longer_waits_is_forgotten(store: Valkey, waiter: Waiter) -> None:
    first, second = waiter.watch("a"), waiter.watch("a")
    other = waiter.watch("b")
    wait_for_subscription(store, "a", "b")
    first.cancel()
    finish(store, "a")
    assert second.result(5) == b"of a"
    other.cancel()
    third = waiter.watch("c")
    wait_for_subscription(store, "c")
    assert subscriptions(store) == {"result-c"}
    third.cancel()


def test_a_result_that_was_stored_while_the_store_was_away_is_found(store: Valkey, waiter: Waiter) -> None:
    future = waiter.watch("a")
    wait_for_subscription(store, "a")
    store.process.kill()
    store.restart()
    # Not announced: whoever subscribes again has to look.
    finish(store, "a", announce=False)
    assert future.result(15) == b"of a"


def test_waiting_can_begin_while_the_store_is_away(store: Valkey, waiter: Waiter) -> None:
    store.process.kill()
    future = waiter.watch("a")
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.5)
    store.restart()
    finish(store, "a")
    assert future.result(15) == b"of a"


def test_closing_cancels_who_waits(store: Valkey) -> None:
    waiter = waiter_of(store.url())
    future = waiter.watch("a")
    waiter.close()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(5)


def test_closing_while_the_store_is_away(store: Valkey) -> None:
    waiter = waiter_of(store.url())
    future = waiter.watch("a")
    store.process.kill()
    waiter.close()
    assert future.cancelled()


def test_a_closed_waiter_stays_closed(store: Valkey) -> None:
    waiter = waiter_of(store.url())
    waiter.close()
    waiter.close()
    with pytest.raises(RuntimeError, match="closed"):
        waiter.watch("a")
    assert waiter._listener is None


def test_a_note_on_the_way_to_an_outcome_resolves_nobody(store: Valkey, waiter: Waiter) -> None:
    with redis.Redis.from_url(store.url()) as client:
        client.set("result-a", "note: it is looked up")
        future = waiter.watch("a")
        wait_for_subscription(store, "a")
        client.publish("result-a", "note: it is announced")
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(0.3)
    finish(store, "a")
    assert future.result(5) == b"of a"


def test_a_link_that_is_cut_without_a_word_is_noticed(store: Valkey) -> None:
    with Proxy(store.port) as proxy:
        waiter = waiter_of(proxy.url(), silence_s=0.2)
        future = waiter.watch("a")
        wait_for_subscription(store, "a")
        finish(store, "b", announce=False)
        assert waiter.watch("b").result(5) == b"of b", "the look-up for a was before this one"
        proxy.swallow()
        finish(store, "a")
        assert future.result(5) == b"of a"
        assert proxy.accepted > 2, "over a new connection"
        waiter.close()


def test_a_silent_link_that_is_alive_is_kept(store: Valkey) -> None:
    with Proxy(store.port) as proxy:
        waiter = waiter_of(proxy.url(), silence_s=0.25)
        future = waiter.watch("a")
        wait_for_subscription(store, "a")
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(2)
        before = proxy.accepted
        finish(store, "a")
        assert future.result(5) == b"of a"
        assert proxy.accepted == before <= 2
        waiter.close()


def test_a_notification_that_takes_longer_than_the_silence_arrives_whole(store: Valkey) -> None:
    large = b"x" * 300_000
    with Proxy(store.port) as proxy:
        waiter = waiter_of(proxy.url(), silence_s=0.7)
        future = waiter.watch("a")
        wait_for_subscription(store, "a")
        proxy.dribble(chunk=50_000, every_s=0.1)
        with redis.Redis.from_url(store.url()) as client:
            # Announced and not stored: it has to come as the notification, on the connection there is.
            client.publish("result-a", large)
        assert future.result(10) == large
        waiter.close()


def test_closing_is_prompt_whatever_the_reader_does(store: Valkey) -> None:
    # A cancellation that meets the end of a silence is swallowed by redis-py, so the reader has to see for itself.
    for number in range(40):
        waiter = waiter_of(store.url(), silence_s=0.001)
        future = waiter.watch(f"never-{number}")
        wait_for_subscription(store, f"never-{number}")
        started = time.monotonic()
        waiter.close()
        assert time.monotonic() - started < 2
        assert future.cancelled()


def test_a_store_that_pauses_and_goes_on_is_waited_for(store: Valkey) -> None:
    waiter = waiter_of(store.url(), silence_s=0.2)
    futures = [waiter.watch(name) for name in ("a", "b")]
    wait_for_subscription(store, "a", "b")
    finish(store, "c", announce=False)
    assert waiter.watch("c").result(5) == b"of c", "the look-up for the others was before this one"
    with redis.Redis.from_url(store.url()) as client:
        client.set("result-a", "of a")  # not announced: only who connects anew looks it up
        # Long enough that the waiter gives the connection up, several times over.
        os.kill(store.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(concurrent.futures.TimeoutError):
                futures[0].result(3)
        finally:
            os.kill(store.process.pid, signal.SIGCONT)
    assert futures[0].result(10) == b"of a"
    wait_for_subscription(store, "b")
    with redis.Redis.from_url(store.url()) as client:
        client.publish("result-b", "of b")  # not stored
    assert futures[1].result(10) == b"of b", "and what is announced from then on arrives"
    waiter.close()


def test_a_store_that_restarts_again_and_again_loses_nobody(store: Valkey, waiter: Waiter) -> None:
    names = [f"{round_}-{number}" for round_ in range(3) for number in range(20)]
    futures = {name: waiter.watch(name) for name in names}
    for round_ in range(3):
        store.process.kill()
        store.restart()
        for number in range(20):
            # Some before the waiter is back, some after it.
            finish(store, f"{round_}-{number}")
    assert [futures[name].result(20) for name in names] == [f"of {name}".encode() for name in names]
