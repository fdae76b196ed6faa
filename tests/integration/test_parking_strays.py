"""A service that leaves the catalogue takes no parked call with it: each ends, and nothing of it is left."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis

from gateway import Catalogue, Gateway, PendingCall, RestCall, Settings
from gateway.dev.valkey import Valkey
from gateway.errors import CallCancelledError, CircuitOpenError, ServiceError, UnknownServiceError
from gateway.fleet_keys import SERVICES, breaker, limit, parked, parked_deadlines, parked_messages, ramp
from gateway.history import KEY as HISTORY
from gateway.records import key_of
from tests.integration.parking_scripts import NOW, A, Lot, many
from tests.integration.pool_rig import eventually
from tests.servers.worker import Worker

OLD, NEW = "old-name", "new-name"


class Fleets:
    """Workers with one catalogue, workers with another, and producers that have the first. No service is ever asked."""

    def __init__(self, valkey: Valkey, folder: Path) -> None:
        self._urls = {"GATEWAY_BROKER_URL": valkey.url(8), "GATEWAY_RESULT_URL": valkey.url(9)}
        self._folder = folder
        self.workers: list[Worker] = []
        self.results: redis.Redis = redis.Redis.from_url(valkey.url(9), decode_responses=True)
        self.results.flushdb()
        with redis.Redis.from_url(valkey.url(8)) as broker:
            broker.flushdb()
        for name in (OLD, NEW):
            self._config(name).write_text(f'[services.{name}]\nrest.url = "http://127.0.0.1:1"\n')
        settings = Settings(broker_url=valkey.url(8), result_url=valkey.url(9))
        self.gateway = Gateway(settings, Catalogue.load(self._config(OLD)))

    def _config(self, service: str) -> Path:
        return self._folder / f"{service}.toml"

    def worker(self, service: str, queues: Sequence[str] = ()) -> Worker:
        env = {**self._urls, "GATEWAY_CONFIG": str(self._config(service))}
        worker = Worker("workers.app", self._folder, env=env, queues=queues)
        self.workers.append(worker)
        return worker

    def park(self, count: int, deadline_s: float) -> list[PendingCall]:
        """Calls of the old service that wait for its breaker."""
        self.results.hset(breaker(OLD), mapping={"phase": "open", "until": "inf"})
        calls = [self.gateway.submit(RestCall(OLD, "GET", "/a"), deadline=deadline_s) for _ in range(count)]
        eventually(lambda: self.results.zcard(parked(OLD)) == count, "all are parked")
        return calls

    def left(self) -> set[str]:
        """Which keys of parked calls there are."""
        keys = (parked(OLD), parked_deadlines(OLD), parked_messages(OLD))
        return {key for key in keys if self.results.exists(key)}

    def close(self) -> None:
        self.gateway.close()
        for worker in self.workers:
            worker.kill()
        self.results.close()


@pytest.fixture
def fleets(valkey: Valkey, tmp_path: Path) -> Iterator[Fleets]:
    made = Fleets(valkey, tmp_path)
    yield made
    made.close()


def ends(call: PendingCall, kind: type[ServiceError]) -> float:
    """How long after its deadline the call had its outcome, in seconds."""
    with pytest.raises(kind) as raised:
        call.result(timeout=30)
    assert type(raised.value) is kind
    assert call.deadline_at is not None
    return time.time() - call.deadline_at


# -- whole workers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queues", [(), (f"gateway.{NEW}",)], ids=["all queues", "its own queue alone"])
def test_a_service_that_is_renamed_while_calls_are_parked(fleets: Fleets, queues: Sequence[str]) -> None:
    old = fleets.worker(OLD)
    fleets.worker(NEW, queues)
    calls = fleets.park(20, deadline_s=4.0)
    old.kill()
    for call in calls:
        late_s = ends(call, UnknownServiceError)
        assert 0 < late_s < 5
    eventually(lambda: not fleets.left(), "nothing is left of them", 5)
    fleets.results.delete(breaker(OLD))
    eventually(lambda: OLD not in fleets.results.smembers(SERVICES), "nor of the service", 5)
    stays = {key for key in fleets.results.scan_iter("gateway:*") if fleets.results.ttl(key) == -1}
    assert stays <= {SERVICES, HISTORY}


def test_workers_that_know_the_service_end_its_calls(fleets: Fleets) -> None:
    fleets.worker(OLD)
    fleets.worker(NEW)
    call, cancelled = fleets.park(2, deadline_s=3.0)
    assert cancelled.cancel()
    assert ends(cancelled, CallCancelledError) < 0
    assert ends(call, CircuitOpenError) < 2
    eventually(lambda: not fleets.left(), "nothing is left of them", 5)


# -- the script alone --------------------------------------------------------------------------------------------------


@pytest.fixture
def lot(valkey: Valkey) -> Iterator[Lot]:
    with redis.Redis.from_url(valkey.url(5), decode_responses=True) as client:
        client.flushdb()
        yield Lot(client)


def test_calls_of_a_service_that_is_not_known_go_after_their_deadline_alone(lot: Lot) -> None:
    lot.park("a")
    lot.park("b", service="service-b", deadline_at=NOW + 5)
    assert lot.ids() == ["a"]
    assert lot.ids(NOW + 5.4) == []
    (claim,) = lot.claim(NOW + 5.6)
    assert claim[:3] == ["service-b", "b", 1]
    assert lot.ids(NOW + 7.5) == [], "it is claimed"


def test_a_worker_that_knows_the_service_comes_first(lot: Lot) -> None:
    lot.park("b", service="service-b", deadline_at=NOW + 5)
    assert lot.ids(NOW + 5.1, name="service-b") == ["b"]
    assert lot.ids(NOW + 5.6) == [], "nor is it claimed by two"


def test_a_dead_claim_does_not_end_a_call_before_its_deadline(lot: Lot) -> None:
    lot.park("b", service="service-b", deadline_at=NOW + 60)
    assert lot.ids(name="service-b") == ["b"]
    assert lot.ids(NOW + 31) == []
    assert lot.ids(NOW + 60.4) == []
    assert lot.ids(NOW + 60.6) == ["b"]


def test_nor_does_a_copy_of_a_message_whose_call_runs_elsewhere(lot: Lot) -> None:
    lot.redis.hset(key_of("b"), mapping={"state": "running", "lease": 1, "deadline_at": NOW + 60})
    lot.park("b", service="service-b", copy=1, due=NOW + 1, lease=False)
    assert lot.ids(NOW + 2) == []
    assert lot.ids(NOW + 60.6) == ["b~me"]


def test_one_that_was_cancelled_waits_for_a_worker_that_knows_its_service(lot: Lot) -> None:
    lot.redis.hset(key_of("b"), "state", "cancelled")
    lot.park("b", service="service-b")
    assert lot.ids() == []
    assert lot.ids(NOW + 0.4) == []
    assert lot.ids(NOW + 0.6) == ["b"]


def test_many_strays_are_bounded_too(lot: Lot) -> None:
    lot.park(*many(450), service="service-b", deadline_at=NOW + 1)
    assert [len(lot.go(NOW + 2)) for _ in range(4)] == [200, 200, 50, 0]


# -- what stays --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("interval", "kept_s"), [(0, 3600), (1 / 50, 3600), (86400, 86400 + 3600)])
def test_the_ramp_does_not_stay_for_ever(lot: Lot, interval: float, kept_s: float) -> None:
    lot.park("a")
    assert lot.go(interval=interval) == ["a"]
    assert kept_s <= lot.redis.ttl(ramp(A)) <= kept_s + 2
    assert set(lot.redis.scan_iter("gateway:*")) == {ramp(A), key_of("a"), SERVICES}


def test_the_name_of_a_service_goes_with_the_last_that_is_known_of_it(lot: Lot) -> None:
    lot.park("b", service="service-b", deadline_at=NOW + 1)
    lot.redis.hset(limit("service-b"), "tat", NOW)
    assert lot.go(NOW + 2) == ["b"]
    lot.go(NOW + 2)
    assert lot.redis.smembers(SERVICES) == {"service-b"}
    lot.redis.delete(limit("service-b"))
    lot.go(NOW + 2)
    assert not lot.redis.exists(SERVICES)
