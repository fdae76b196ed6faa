"""Dead letters on a real server: kept once, bounded, repaired, marked, purged."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import redis

from gateway.dead_letter import AttemptMade, Cause, DeadLetter, Reason, pack_history
from gateway.dead_letters import KEEP, KEPT_S, MOST_MESSAGE_BYTES, DeadLetters, Entry, keep_arguments
from gateway.dev.valkey import Valkey
from gateway.records import key_of

DATABASE = 11


@pytest.fixture
def store(valkey: Valkey) -> Iterator[Any]:
    with redis.Redis.from_url(valkey.url(DATABASE), decode_responses=True) as client:
        client.flushdb()
        yield client


@pytest.fixture
def letters(valkey: Valkey, store: Any) -> Iterator[DeadLetters]:
    with DeadLetters.open(valkey.url(DATABASE)) as opened:
        yield opened


def letter(name: str, **fields: Any) -> DeadLetter:
    cause = Cause(type="ServiceFaultError", message="answered 500")
    return msgspec.structs.replace(DeadLetter(id=name, reason=Reason.FAILED, cause=cause, service="users"), **fields)


def keep(letters: DeadLetters, *names: str, instead: bool = True, **fields: Any) -> None:
    letters.keep([Entry.of(letter(name, **fields), instead=instead) for name in names])


def bounded(store: Any, *names: str, **bounds: Any) -> None:
    """Keep letters with other bounds than the usual ones."""
    arguments = keep_arguments([Entry.of(letter(name), instead=True) for name in names], **bounds)
    store.eval(KEEP, len(arguments["keys"]), *arguments["keys"], *arguments["args"])


def names(letters: DeadLetters) -> list[str]:
    return [found.id for found in letters]


def test_a_letter_is_kept_and_found(store: Any, letters: DeadLetters) -> None:
    before = letters.now()
    keep(letters, "c1", message=msgspec.Raw(b'{"queue":"q"}'), attempts=(), correlation_id="order-42")
    found = letters.find("c1")
    assert found is not None
    assert (found.correlation_id, bytes(found.message), found.replays) == ("order-42", b'{"queue":"q"}', 0)
    assert before - 0.001 <= found.died_at <= letters.now()
    assert letters.find("c2") is None
    # Should nothing die any more, nothing is left.
    assert all(KEPT_S - 5 < store.ttl(key) <= KEPT_S for key in store.keys("gateway:dead*"))


def test_a_call_that_dies_twice_has_one_letter(store: Any, letters: DeadLetters) -> None:
    keep(letters, "c1", started=1)
    keep(letters, "c1", started=2)
    keep(letters, "c1", started=0, instead=False)  # a refused duplicate of its message knows less
    (found,) = letters
    assert found.started == 2
    assert int(store.get("gateway:dead-bytes")) == store.hstrlen("gateway:dead-letters", "c1")


def test_attempts_of_earlier_workers_are_in_the_letter(store: Any, letters: DeadLetters) -> None:
    first, second = (
        AttemptMade(number=number, at=number + 0.123456, took_s=0.5, worker=f"w:{number}", outcome="ServiceFaultError")
        for number in (1, 2)
    )
    store.hset(key_of("c1"), "history", pack_history([first]))
    keep(letters, "c1", attempts=(first, second))
    store.hset(key_of("c2"), "history", 'no "JSON\\')
    keep(letters, "c2", attempts=(second,))
    assert [found.attempts for found in letters] == [(first, second), (second,)]


def test_the_oldest_go_beyond_a_number(store: Any, letters: DeadLetters) -> None:
    for number in range(12):
        bounded(store, f"c{number}", most=10)
    assert names(letters) == [f"c{number}" for number in range(2, 12)]
    assert store.hlen("gateway:dead-letters") == 10
    bounded(store, *(f"d{number}" for number in range(15)), most=10)
    assert letters.count() == store.hlen("gateway:dead-letters") == 10


def test_the_old_go(store: Any, letters: DeadLetters) -> None:
    keep(letters, "old", "young")
    store.zincrby("gateway:dead", -KEPT_S, "old")
    assert names(letters) == ["young"]
    keep(letters, "new")
    assert store.zrange("gateway:dead", 0, -1) == ["young", "new"]
    assert sorted(store.hkeys("gateway:dead-letters")) == ["new", "young"]


def test_the_oldest_go_beyond_a_size(store: Any, letters: DeadLetters) -> None:
    bounded(store, "c0")
    size = int(store.get("gateway:dead-bytes"))
    for number in range(1, 10):
        bounded(store, f"c{number}", most_bytes=4 * size)
    assert names(letters) == ["c6", "c7", "c8", "c9"]
    assert int(store.get("gateway:dead-bytes")) == sum(map(len, store.hvals("gateway:dead-letters"))) == 4 * size
    bounded(store, "d0", most_bytes=size - 1)
    assert names(letters) == []


def test_a_large_message_is_left_out(letters: DeadLetters) -> None:
    keep(
        letters, "c1", message=msgspec.Raw(b'"%s"' % (b"x" * MOST_MESSAGE_BYTES)), message_bytes=MOST_MESSAGE_BYTES + 2
    )
    found = letters.find("c1")
    assert found is not None
    assert (found.has_message, found.message_bytes) == (False, MOST_MESSAGE_BYTES + 2)


@pytest.mark.parametrize("lost", ["gateway:dead", "gateway:dead-letters", "gateway:dead-replays", "gateway:dead-bytes"])
def test_what_is_left_of_an_evicted_store_is_whole(store: Any, letters: DeadLetters, lost: str) -> None:
    keep(letters, "c1", "c2")
    letters.mark([(found, str(uuid4())) for found in letters])
    store.delete(lost)
    keep(letters, "c3")
    left = ["c1", "c2", "c3"] if lost in ("gateway:dead-bytes", "gateway:dead-replays") else ["c3"]
    assert names(letters) == left
    assert store.hlen("gateway:dead-letters") == letters.count() == len(left)
    assert int(store.get("gateway:dead-bytes")) == sum(map(len, store.hvals("gateway:dead-letters")))


def test_a_letter_of_a_newer_version_is_passed_over(store: Any, letters: DeadLetters) -> None:
    keep(letters, "c1", "c2")
    store.hset("gateway:dead-letters", "c1", '{"letter":{"id":"c1","reason":"lonely"}}')
    assert names(letters) == ["c2"]


def test_replays_are_counted_once_each(store: Any, letters: DeadLetters) -> None:
    keep(letters, "c1")
    (before,) = letters
    assert letters.mark([(before, "r1")]) == [True]
    (once,) = letters
    assert (once.replays, once.replayed_as) == (1, "r1")
    assert once.replayed_at is not None
    assert abs(once.replayed_at - letters.now()) < 5
    assert letters.mark([(before, "r2")]) == [False]  # who read it before does not know
    assert letters.mark([(once, "r3")]) == [True]
    letters.unmark([(once, "r1")])  # not the last one: it stays
    letters.unmark([(once, "r3")])
    (again,) = letters
    assert (again.replays, again.replayed_as, again.replayed_at) == (1, None, None)
    letters.purge(["c1"])
    assert letters.mark([(again, "r4")]) == [False]
    assert not store.keys("gateway:dead*")


def test_of_two_who_replay_at_once_one_does(letters: DeadLetters) -> None:
    keep(letters, *(f"c{number}" for number in range(50)))
    seen = list(letters)

    def replay(_: int) -> list[bool]:
        return [letters.mark([(found, str(uuid4()))])[0] for found in seen]

    with ThreadPoolExecutor(4) as threads:
        granted = list(threads.map(replay, range(4)))
    assert [sum(each) for each in zip(*granted, strict=True)] == [1] * 50


def test_purge(store: Any, letters: DeadLetters) -> None:
    keep(letters, "c1", "c2", "c3")
    assert letters.purge(["c1", "c3", "nobody"]) == 2
    assert names(letters) == ["c2"]
    assert int(store.get("gateway:dead-bytes")) == store.hstrlen("gateway:dead-letters", "c2")
    assert letters.purge(["c2"]) == 1
    assert not store.keys("gateway:dead*")


def test_a_flood_costs_little(letters: DeadLetters) -> None:
    """Ten thousand and some letters, two hundred at a time as workers send them."""
    began = time.monotonic()
    for start in range(0, 10_400, 200):
        keep(
            letters,
            *(f"c{number}" for number in range(start, start + 200)),
            message=msgspec.Raw(b'"%s"' % (b"x" * 500)),
        )
    assert time.monotonic() - began < 10
    found = names(letters)
    assert len(set(found)) == 10_000
    assert letters.count() == 10_000
