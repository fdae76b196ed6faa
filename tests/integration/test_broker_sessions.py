"""What a process has taken is its own as long as it lives, whatever its connection does; and goes back when it dies."""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.exceptions import OperationalError

from gateway.dev.valkey import Valkey
from tests.integration.taker import Taker, publish
from tests.servers.proxy import Proxy
from workers.broker.session import _SETTLE
from workers.broker.sessions import sessions

_ROOT = Path(__file__).resolve().parents[2]

#: Lease times of these tests, in seconds.
FAST: dict[str, Any] = {"consumer_silence": 1.5, "consumer_beat": 0.3}


@pytest.fixture
def url(valkey: Valkey) -> str:
    return valkey.url(3)


@pytest.fixture
def store(url: str) -> Iterator[Any]:
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield client
        sessions.end()
        client.flushdb()


class Doomed:
    """A consumer in a process of its own."""

    def __init__(self, url: str, name: str) -> None:
        argv = [sys.executable, "-m", "tests.integration.doomed", url, name, str(FAST["consumer_silence"])]
        self.process = subprocess.Popen(argv, cwd=_ROOT, stdout=subprocess.PIPE, text=True)

    def took(self, count: int) -> list[int]:
        """What it was given, as soon as there are so many."""
        out = self.process.stdout
        assert out is not None
        return [int(out.readline()) for _ in range(count)]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def doomed(url: str, store: Any) -> Iterator[Doomed]:
    made = Doomed(url, "q")
    yield made
    made.kill()


def test_what_a_dead_consumer_had_comes_back_soon(url: str, store: Any, doomed: Doomed) -> None:
    publish(url, "q", *range(5))
    assert doomed.took(5) == [0, 1, 2, 3, 4]
    publish(url, "other", 7)
    with Taker(url, "q", "other", credit=20, **FAST) as taker:
        taker.turn(lambda: taker.got)
        doomed.kill()
        died = time.monotonic()
        taker.turn(lambda: len(taker.got) == 6)
        assert time.monotonic() - died < 2 * FAST["consumer_silence"]
        back = [message for message in taker.got if message.headers.get("redelivered")]
        assert [message.payload["n"] for message in back] == [0, 1, 2, 3, 4]
        assert {message.headers["x-delivery-count"] for message in back} == {1}
        assert all(message.delivery_info["redelivered"] for message in back)
        for message in taker.got:
            message.ack()
        taker.settled()
        assert store.keys("*unacked*") == store.keys("gateway:claims*") == []
        assert store.zcard("gateway:consumers") == 1


def test_deaths_are_counted(url: str, store: Any) -> None:
    publish(url, "q", 1)
    for deaths in (1, 2):
        dying = Doomed(url, "q")
        try:
            dying.took(1)
        finally:
            dying.kill()
        with Taker(url, "other", **FAST) as taker:
            taker.turn(lambda: store.llen("q"))
        [raw] = store.lrange("q", 0, -1)
        assert json.loads(raw)["gateway_deaths"] == deaths
        assert raw.count(b"gateway_deaths") == 1
    with Taker(url, "q") as taker:
        taker.turn(lambda: taker.got)
        assert taker.got[0].headers["x-delivery-count"] == 2


def test_what_a_live_consumer_has_stays_with_it(url: str, store: Any) -> None:
    publish(url, "q", 1)
    publish(url, "strange", 2)
    with Taker(url, "q", visibility_timeout=1, unacked_restore_throttle=1, unacked_restore_interval=0.2, **FAST) as one:
        one.turn(lambda: one.got)
        # As a consumer of kombu's own leaves it behind.
        raw = store.rpop("strange")
        assert isinstance(raw, bytes)
        store.hset("unacked", "stray", b"[" + raw + b', "strange", "strange"]')
        store.zadd("unacked_index", {"stray": time.time() - 2})
        one.idle(2.5 * FAST["consumer_silence"])
        assert (one.bodies, store.llen("q")) == ([1], 0)
        assert store.hkeys("unacked") == [one.got[0].delivery_tag.encode()]
        assert json.loads(store.lrange("strange", 0, -1)[0])["headers"]["redelivered"]


def test_a_consumer_that_was_taken_for_dead_has_nothing_to_say(url: str, store: Any) -> None:
    publish(url, "q", 1)
    # Another name of the same broker: another session.
    with Taker(url, "q", **FAST) as one, Taker(url.replace("127.0.0.1", "localhost"), "q", **FAST) as other:
        assert one.session is not other.session
        one.turn(lambda: one.got)
        one.channel.basic_cancel(next(iter(one.channel._consumers)))
        # As if its process were stopped for a while.
        one.session._beat_s = 60
        other.turn(lambda: other.got)
        one.got.pop().ack()
        one.settled()
        assert (store.hlen("unacked"), store.hlen("gateway:claims")) == (1, 1)
        other.got.pop().ack()
        other.settled()
        assert (store.hlen("unacked"), store.hlen("gateway:claims")) == (0, 0)


def test_a_lost_connection_gives_nothing_back(url: str, store: Any) -> None:
    publish(url, "q", *range(10))
    before = Taker(url, "q", credit=4)
    before.turn(lambda: len(before.got) == 4)
    before.close()
    with Taker(url, "q", credit=6) as after:
        after.idle()
        assert after.bodies == [4, 5]
        assert (store.llen("q"), store.hlen("unacked")) == (4, 6)
        for message in before.got:
            message.ack()
        after.turn(lambda: len(after.got) == 6)
        after.settled()
        assert (after.bodies, store.hlen("unacked")) == ([4, 5, 6, 7, 8, 9], 6)


def test_an_acknowledgement_that_was_lost_is_repeated(url: str, store: Any, valkey: Valkey) -> None:
    publish(url, "q", *range(5))
    with Proxy(valkey.port) as proxy, Taker(proxy.url(3), "q") as taker:
        taker.turn(lambda: len(taker.got) == 5)
        proxy.cut_after(_SETTLE.sha.encode())
        taker.got[0].ack()
        taker.settled()
        assert proxy.cuts == 1
        proxy.reset(refuse=True)
        for message in taker.got[1:]:
            message.ack()
        assert not taker.session.flush(0.5)
        proxy.let_go()
        taker.settled()
        assert (store.hlen("unacked"), store.llen("q")) == (0, 0)
        sessions.end()


def test_an_answer_that_was_cut_off_is_delivered_again(url: str, store: Any, valkey: Valkey) -> None:
    with Proxy(valkey.port) as proxy:
        taker = Taker(proxy.url(3), "q")
        taker.armed()
        proxy.cut_after(b"EVALSHA")
        publish(url, "q", *range(5))
        with pytest.raises((redis.ConnectionError, OperationalError)):
            taker.turn(lambda: taker.got)
        taker.close()
        assert proxy.cuts == 1
        with Taker(proxy.url(3), "q") as again:
            again.turn(lambda: len(again.got) == 5)
            assert sorted(again.bodies) == list(range(5))
            assert not any(message.headers.get("redelivered") for message in again.got)
        sessions.end()


def test_a_link_that_says_nothing_is_dropped(
    url: str, store: Any, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.broker.claimer.OVERDUE_S", 0.5)
    with Proxy(valkey.port) as proxy, Taker(proxy.url(3), "q", socket_timeout=1) as taker:
        taker.armed()
        proxy.swallow()
        publish(url, "q", 1)
        # Within the loop: no other connection of the channel is used meanwhile.
        taker.turn(lambda: taker.bodies == [1])
        sessions.end()


def test_what_nobody_has_in_hand_any_more_goes_back(url: str, store: Any) -> None:
    publish(url, "q", 1, 2)
    with Taker(url, "q") as taker:
        taker.turn(lambda: len(taker.got) == 2)
        forgotten = taker.got.pop(0).delivery_tag
        gc.collect()
        taker.turn(lambda: len(taker.got) == 2)
        assert taker.got[1].delivery_tag == forgotten
        assert taker.got[1].headers["x-delivery-count"] == 0


def test_the_end_gives_everything_back(url: str, store: Any) -> None:
    publish(url, "q", *range(5))
    with Taker(url, "q", credit=3) as taker:
        taker.turn(lambda: len(taker.got) == 3)
        raw = store.lrange("q", 0, -1)
        taker.got[0].requeue()
        taker.settled()
        assert b"gateway_deaths" not in store.lrange("q", -1, -1)[0]
        taker.consumer.cancel()
    sessions.end()
    assert store.llen("q") == 5
    assert store.lrange("q", 0, 1) == raw
    assert store.keys("*unacked*") == store.keys("gateway:c*") == []


def test_a_restarted_server_is_given_time(store: Any, url: str) -> None:
    publish(url, "q", 1)
    with Taker(url, "q", **FAST) as taker:
        taker.turn(lambda: taker.got)
        now = time.time()
        # Nobody swept for a minute, and nobody could beat: the server was away. One was silent before that.
        sessions_: dict[Any, float] = {"unheard": now - 60.5, "silent": now - 70}
        store.zadd("gateway:consumers", sessions_)
        store.set("gateway:swept", now - 60)
        store.delete("gateway:claims:unheard")
        taker.turn(lambda: float(store.get("gateway:swept") or 0) > now - 1)
        left = {member.decode() for member in store.zrange("gateway:consumers", 0, -1)}
        assert left == {"unheard", taker.session.id}
