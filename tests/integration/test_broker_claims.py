"""Our Redis transport takes messages in order, fairly, within its credit, and at once; none is lost on the way."""

import json
import statistics
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import redis
from kombu import Connection

from gateway.dev.valkey import Valkey
from tests.integration.taker import Taker, publish, queue
from workers.broker.claimer import _CLAIM
from workers.broker.sessions import sessions


def _has_more(taker: Taker, than: int) -> bool:
    return len(taker.got) > than


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


def test_messages_come_in_order_the_more_urgent_first(url: str, store: Any) -> None:
    publish(url, "q", 1, 2, 3)
    publish(url, "q", 4, 5, priority=9)
    publish(url, "q", 6, priority=3)
    with Taker(url, "q") as taker:
        taker.turn(lambda: len(taker.got) == 6)
        # Kombu's Redis transport takes 0 for the most urgent.
        assert taker.bodies == [1, 2, 3, 6, 4, 5]


@pytest.mark.parametrize("credit", [1, 8])
def test_a_full_queue_does_not_keep_a_small_one_waiting(url: str, store: Any, credit: int) -> None:
    publish(url, "full", *range(100))
    publish(url, "small", *range(1000, 1003))
    with Taker(url, "full", "small", credit=credit) as taker:
        done = 0
        while not {1000, 1001, 1002} <= set(taker.bodies):
            taker.turn(partial(_has_more, taker, done))
            for message in taker.got[done:]:
                message.ack()
            done = len(taker.got)
        assert len(taker.got) <= 14
        assert [body for body in taker.bodies if body < 1000] == list(range(len(taker.got) - 3))


def test_what_one_claim_leaves_the_next_takes(url: str, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.broker.claimer.ARMED_S", 60.0)
    publish(url, "q", *range(350))
    with Taker(url, "q", credit=500) as taker:
        taker.turn(lambda: len(taker.got) == 350)
        assert taker.bodies == list(range(350))


@pytest.mark.parametrize("credit", [1, 7, 150])
def test_no_more_is_taken_than_there_is_credit_for(url: str, store: Any, credit: int) -> None:
    publish(url, "q", *range(400))
    with Taker(url, "q", credit=credit) as taker:
        taker.turn(lambda: len(taker.got) == credit)
        taker.idle()
        assert (len(taker.got), store.llen("q"), store.hlen("unacked")) == (credit, 400 - credit, credit)
        for message in taker.got[: credit // 2]:
            message.ack()
        taker.turn(lambda: len(taker.got) == credit + credit // 2)
        taker.idle()
        taker.settled()
        assert (store.llen("q"), store.hlen("unacked")) == (400 - credit - credit // 2, credit)


def test_what_is_recorded_is_kombus(url: str, store: Any) -> None:
    publish(url, "q", {"empty": [], "float": 1.0, "large": 2**60, "text": 'ä\u2028"</'})
    [raw] = store.lrange("q", 0, -1)
    with Taker(url, "q") as taker:
        taker.turn(lambda: taker.got)
        [(tag, value)] = store.hgetall("unacked").items()
        assert value == b"[" + raw + b', "q", "q"]'
        assert json.loads(value)[0] == json.loads(raw)
        [(member, score)] = store.zrange("unacked_index", 0, -1, withscores=True)
        assert (member, tag.decode()) == (tag, taker.got[0].delivery_tag)
        assert abs(score - time.time()) < 5
        with Connection(url) as stock:
            channel: Any = stock.default_channel
            channel.qos.restore_by_tag(tag.decode())
            [back] = store.lrange("q", 0, -1)
            assert json.loads(back)["body"] == json.loads(raw)["body"]
        taker.turn(lambda: len(taker.got) == 2)
        for message in taker.got:
            message.ack()
        taker.settled()
        assert sorted(store.keys("*unacked*")) == sorted(store.keys("gateway:claims*")) == []


def test_a_stock_producers_message_wakes_an_idle_consumer(url: str, store: Any) -> None:
    with Taker(url, "q", "other") as taker, Connection(url) as connection:
        taker.armed()
        times: list[tuple[float, float]] = []

        def produce() -> None:
            producer = connection.Producer(serializer="json")
            for number in range(30):
                time.sleep(0.03)
                sent = time.monotonic()
                producer.publish({"n": sent}, routing_key="q" if number % 2 else "other")

        thread = threading.Thread(target=produce)
        thread.start()
        while len(times) < 30:
            taker.turn(lambda: taker.got)
            times += [(message.payload["n"], time.monotonic()) for message in taker.got]
            for message in taker.got:
                message.ack()
            taker.got.clear()
        thread.join()
        assert statistics.median(now - sent for sent, now in times) < 0.05


def test_an_idle_consumer_asks_once_a_second(url: str, store: Any) -> None:
    with Taker(url, "q") as taker:
        taker.armed()
        before: Any = store.info("commandstats")["cmdstat_evalsha"]["calls"]
        ends = time.monotonic() + 2
        taker.turn(lambda: time.monotonic() > ends)
        after: Any = store.info("commandstats")["cmdstat_evalsha"]["calls"]
        # Beside claims: beats and sweeps. Without a word from the server it would be one every tenth of a second.
        assert 1 <= after - before <= 12


def test_entries_that_are_no_messages_are_put_aside(url: str, store: Any) -> None:
    publish(url, "q", 1)
    [raw] = store.lrange("q", 0, -1)
    broken = json.loads(raw)
    broken["properties"]["body_encoding"] = "base65"
    strays = [b"\xff\xfe", b"", b"{", b"[1]", b"[" * 2000, json.dumps(broken).encode(), raw.replace(b'"q"', b"7")]
    for stray in strays:
        store.lpush("q", stray)
    publish(url, "q", 2)
    with Taker(url, "q", credit=20) as taker:
        taker.turn(lambda: len(taker.got) == len(strays) + 2)
        readable = [message for message in taker.got if message.content_type == "application/json"]
        assert [message.payload["n"] for message in readable] == [1, 2]
        assert sorted(store.lrange("gateway:unreadable", 0, -1)) == sorted(strays)
        for message in taker.got:
            message.reject()
        taker.settled()
        assert (store.hlen("unacked"), store.hlen("gateway:claims"), store.llen("q")) == (0, 0, 0)


def test_a_key_that_is_no_list_holds_up_no_other(url: str, store: Any) -> None:
    with Taker(url, "odd", "q") as taker:
        store.set("odd", "text")
        publish(url, "q", 1)
        taker.turn(lambda: taker.bodies == [1])


def test_one_message_can_be_got(url: str, store: Any) -> None:
    publish(url, "q", 1, 2)
    with Taker(url, "other") as taker:
        bound: Any = queue("q")(taker.channel)
        message: Any = bound.get()
        assert (message.payload, store.hlen("unacked")) == ({"n": 1}, 1)
        message.ack()
        assert bound.get(no_ack=True).payload == {"n": 2}
        assert bound.get() is None
        taker.settled()
        assert store.hlen("unacked") == 0


def test_a_server_that_forgot_the_scripts(url: str, store: Any) -> None:
    with Taker(url, "q") as taker:
        taker.armed()
        store.script_flush()
        publish(url, "q", 1)
        taker.turn(lambda: taker.bodies == [1])
        store.script_flush()
        taker.got.pop().ack()
        taker.settled()
        assert store.hlen("unacked") == 0


def test_a_word_that_was_lost(url: str, store: Any) -> None:
    with Taker(url, "q") as taker:
        taker.armed()
        for client in store.client_list():
            if client["flags"].count("t"):
                connection = taker.channel.client.connection
                connection.send_command("CLIENT", "TRACKING", "OFF")
                connection.read_response()
        publish(url, "q", 1)
        began = time.monotonic()
        taker.turn(lambda: taker.bodies == [1], 3.0)
        assert time.monotonic() - began < 2.0


def test_a_server_that_does_not_tell(url: str, store: Any) -> None:
    store.execute_command("ACL", "SETUSER", "default", "-client|tracking")
    try:
        with Taker(url, "q", ticks=False) as taker:
            taker.turn(lambda: not taker.channel.claimer.tells)
            for number in range(3):
                publish(url, "q", number)
                began = time.monotonic()
                taker.turn(partial(_has_more, taker, number))
                # The first may find it asleep.
                assert number == 0 or time.monotonic() - began < 0.5
    finally:
        store.execute_command("ACL", "SETUSER", "default", "+client|tracking")


def test_a_server_without_memory_loses_nothing(url: str, store: Any) -> None:
    with Taker(url, "q") as taker:
        publish(url, "q", 1, 2)
        taker.turn(lambda: len(taker.got) == 2)
        publish(url, "q", *range(3, 20))
        store.config_set("maxmemory", 1)
        try:
            taker.got.pop().ack()
            ends = time.monotonic() + 1.5
            taker.turn(lambda: time.monotonic() > ends)
            # An acknowledgement needs none; a claim is refused, and takes nothing.
            taker.settled()
            assert store.llen("q") + store.hlen("unacked") == 18
            assert len(taker.got) + store.llen("q") == 18
        finally:
            store.config_set("maxmemory", 0)
        taker.turn(lambda: len(taker.got) == 10)


def test_an_answer_that_was_lost_leaves_nothing_behind(url: str, store: Any) -> None:
    with Taker(url, "q") as taker:
        taker.armed()
        publish(url, "q", *range(5))
        # The claim is carried out; nobody reads its answer.
        taker.channel.claimer.phase = type(taker.channel.claimer.phase).READY
        taker.channel._brpop_start()
        connection = taker.channel.client.connection
        for _ in range(500):
            if store.hlen("unacked") == 5:
                break
            time.sleep(0.01)
        assert store.hlen("unacked") == 5
        connection.disconnect()
        taker.turn(lambda: len(taker.got) == 5)
        assert sorted(taker.bodies) == list(range(5))
        assert not any(message.headers.get("redelivered") for message in taker.got)
        assert store.hlen("unacked") == 5


def test_a_claim_that_comes_late_takes_nothing(url: str, store: Any) -> None:
    with Taker(url, "q") as taker:
        taker.armed()
        link = taker.channel.claimer.link
        taker.session.close_link(link)
        taker.settled()
        publish(url, "other", 1)
        answer = taker.session.run(_CLAIM, taker.channel._keys(["other"]), taker.session.id, link, 10, 1, 10)
        assert (answer, store.llen("other")) == ([0], 1)
        answer = taker.session.run(_CLAIM, taker.channel._keys(["other"]), taker.session.id, "new", 10, 1, 10)
        assert (answer[0], store.llen("other")) == (0, 0)


def test_entries_that_are_no_messages_cost_no_credit(url: str, store: Any) -> None:
    store.lpush("one", *(["no message"] * 12))

    def refused(taker: Taker) -> int:
        """Refuse them as the consumer does; how many were there so far."""
        for message in taker.got:
            if not message.acknowledged:
                message.ack()
        return len(taker.got)

    with Taker(url, "one", credit=5) as taker:
        taker.turn(lambda: refused(taker) == 12)
        publish(url, "one", 1)
        taker.turn(lambda: len(taker.got) == 13)


def test_large_messages_are_taken_a_few_at_a_time(url: str, store: Any) -> None:
    publish(url, "one", *(["x" * 600_000] * 6))
    with Taker(url, "one", credit=5) as taker:
        taker.turn(lambda: len(taker.got) == 5)
        assert store.hlen("unacked") == 5
    # Each claim ends with the message that passes its bound.
    assert store.info("commandstats")["cmdstat_evalsha"]["calls"] >= 3


def test_who_claims_can_be_found_dead(url: str, store: Any) -> None:
    publish(url, "one", 1)
    with Taker(url, "one") as taker:
        store.delete("gateway:consumers")
        publish(url, "one", 2)
        taker.turn(lambda: len(taker.got) == 2)
        assert store.zcard("gateway:consumers") == 1
