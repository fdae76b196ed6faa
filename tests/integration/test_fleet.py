"""The fleet's state on a real server: what is seen of it, and breakers by hand."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from gateway import fleet_keys
from gateway.dev.process import free_port
from gateway.dev.valkey import Valkey
from gateway.fleet import Fleet
from gateway.fleet_state import ServiceState
from gateway.redis_client import ERRORS

DATABASE = 9
USERS = "user-service"


@pytest.fixture
def store(valkey: Valkey) -> Iterator[Any]:
    with redis.Redis.from_url(valkey.url(DATABASE), decode_responses=True) as client:
        client.flushdb()
        yield client


@pytest.fixture
def fleet(valkey: Valkey) -> Iterator[Fleet]:
    with Fleet.open(valkey.url(DATABASE)) as made:
        yield made


def now_of(store: Any) -> float:
    seconds, microseconds = store.time()
    return float(seconds) + float(microseconds) / 1e6


def trip(store: Any, *, until: float) -> None:
    """As workers do."""
    fields = {"phase": "half-open", "epoch": 4, "until": until, "opened_at": until - 30, "successes": 1, "granted": 2}
    store.hset(fleet_keys.breaker(USERS), mapping={**fields, "reason": "5 failures in a row", "by": "w1", "trips": 3})
    store.zadd(fleet_keys.probes(USERS), {"c1#1": until + 60})
    store.sadd(fleet_keys.SERVICES, USERS)


def test_nothing_ever_happened(store: Any, fleet: Fleet) -> None:
    assert fleet.services() == []
    assert fleet.states() == {}
    states = fleet.states([USERS])
    assert states[USERS] == ServiceState(name=USERS, now=states[USERS].now)
    assert states[USERS].now == pytest.approx(now_of(store), abs=5)


def test_a_snapshot_counts_only_what_lives(store: Any, fleet: Fleet) -> None:
    now = now_of(store)
    store.sadd(fleet_keys.SERVICES, USERS, "a-service")
    store.zadd(fleet_keys.inflight(USERS), {"c1#1": now + 60, "c2#1": now + 60, "dead#1": now - 1})
    store.zadd(fleet_keys.probes(USERS), {"c1#1": now + 60, "dead#1": now - 1})
    store.zadd(fleet_keys.parked(USERS), {"c3": now + 20, "c4": now + 10})
    store.hset(fleet_keys.limit(USERS), mapping={"blocked_until": now + 30, "adaptive": 12.5})
    store.hset(fleet_keys.budget(USERS), mapping={"tokens": 3.5, "at": now})
    states = fleet.states()
    assert list(states) == ["a-service", USERS]
    found = states[USERS]
    assert (found.limit.in_flight, found.breaker.probing, found.parked) == (2, 1, 2)
    assert found.due_at == pytest.approx(now + 10)
    assert found.limit.adaptive == 12.5
    assert found.budget.tokens == 3.5
    assert 20 < found.blocked_s <= 30
    assert states["a-service"].limit.in_flight == 0


def test_open_by_hand(store: Any, fleet: Fleet) -> None:
    trip(store, until=now_of(store) + 30)
    before = now_of(store)
    fleet.open_breaker(USERS, by="ada@host by hand", reason="maintenance")
    found = store.hgetall(fleet_keys.breaker(USERS))
    assert before <= float(found.pop("opened_at")) <= now_of(store)
    assert found == {
        "phase": "open",
        "until": "inf",
        "epoch": "5",
        "by": "ada@host by hand",
        "reason": "maintenance",
        "trips": "3",
    }
    # A probe of before must not close what somebody opened.
    assert not store.exists(fleet_keys.probes(USERS))
    assert fleet.states()[USERS].breaker.by_hand


def test_close_by_hand(store: Any, fleet: Fleet) -> None:
    trip(store, until=now_of(store) + 30)
    before = now_of(store)
    fleet.close_breaker(USERS, by="ada@host by hand")
    found = store.hgetall(fleet_keys.breaker(USERS))
    assert before <= float(found.pop("closed_at")) <= now_of(store)
    assert float(found.pop("opened_at")) > 0
    assert found == {"phase": "closed", "epoch": "5", "by": "ada@host by hand", "trips": "3"}
    assert not store.exists(fleet_keys.probes(USERS))


def test_reset_forgets_all_but_that_something_changed(store: Any, fleet: Fleet) -> None:
    trip(store, until=now_of(store) + 30)
    fleet.reset_breaker(USERS)
    assert store.hgetall(fleet_keys.breaker(USERS)) == {"phase": "closed", "epoch": "5"}
    assert not store.exists(fleet_keys.probes(USERS))


@pytest.mark.parametrize("command", ["open", "close", "reset"])
def test_a_service_without_state_has_some_then(store: Any, fleet: Fleet, command: str) -> None:
    match command:
        case "open":
            fleet.open_breaker(USERS, by="me", reason="")
        case "close":
            fleet.close_breaker(USERS, by="me")
        case _:
            fleet.reset_breaker(USERS)
    assert fleet.services() == [USERS]
    assert fleet.states()[USERS].breaker.epoch == 1


def test_changes_at_once_are_all_counted(store: Any, valkey: Valkey) -> None:
    def change() -> None:
        with Fleet.open(valkey.url(DATABASE)) as mine:
            for _ in range(25):
                mine.open_breaker(USERS, by="me", reason="")
                mine.close_breaker(USERS, by="me")

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    found = store.hgetall(fleet_keys.breaker(USERS))
    assert (found["epoch"], found["phase"]) == ("200", "closed")
    assert "until" not in found


@pytest.mark.parametrize("off_s", [-7.0, -1.5, 0.0, 2.5])
def test_how_far_this_hosts_clock_is_off(store: Any, fleet: Fleet, off_s: float) -> None:
    assert fleet.clock_skew_s(lambda: time.time() + off_s) == pytest.approx(-off_s, abs=0.2)


def test_a_server_that_is_away_or_says_nothing_is_noticed_within_two_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (silent.getsockname()[1], free_port()):
            started = time.monotonic()
            with Fleet.open(f"redis://127.0.0.1:{port}/0") as fleet, pytest.raises(ERRORS):
                fleet.states([USERS])
            assert time.monotonic() - started < 2
