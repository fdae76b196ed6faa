"""Dead letters end to end: a service fails, is repaired, and what died is replayed by the command line.

Real workers; what arrived is counted at the service.
"""

import gc
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
import redis
from celery import chain
from click.testing import CliRunner, Result

from gateway import Catalogue, Gateway, RestCall, Settings, previous
from gateway.cli import main
from gateway.dev.valkey import Valkey
from gateway.errors import (
    CallCancelledError,
    InvalidCallError,
    OutcomeUnknownError,
    ServiceError,
    ServiceFaultError,
    ServiceRejectedError,
)
from gateway.pending import PendingCall
from gateway.records import key_of
from tests.integration.pool_rig import eventually
from tests.servers.conduct import Conduct
from tests.servers.counting import Arrival, CountingService
from tests.servers.worker import Worker

BROKER, RESULTS = 14, 15
CATALOGUE = """
[defaults]
retry = { attempts = 2, backoff = 0.01, max_backoff = 0.02, budget = 1.0, budget_per_s = 1000.0 }
breaker = { enabled = false }
timeouts = { attempt = 1.0 }

[services.shop]
rest.url = "${SHOP_URL}"

[services.backup]
rest.url = "${SHOP_URL}/backup"

[services.closed]
rest.url = "${CLOSED_URL}"
"""
FAILS = Conduct(status=500)
#: In a body, a query, a header, a path and an idempotency key: shown nowhere.
CANARY = "canary-7f3a"
Run: TypeAlias = Callable[..., Result]


class Shop:
    """The service, a worker, a producer, and the operator's environment."""

    def __init__(self, valkey: Valkey, folder: Path) -> None:
        self.service = CountingService(folder)
        self._closed = socket.socket()
        self._closed.bind(("127.0.0.1", 0))
        config = folder / "gateway.toml"
        config.write_text(CATALOGUE)
        self.environment = {
            "GATEWAY_BROKER_URL": valkey.url(BROKER),
            "GATEWAY_RESULT_URL": valkey.url(RESULTS),
            "GATEWAY_CONFIG": str(config),
            "SHOP_URL": self.service.url,
            "CLOSED_URL": f"http://127.0.0.1:{self._closed.getsockname()[1]}",
        }
        self.store: Any = redis.Redis.from_url(valkey.url(RESULTS), decode_responses=True)
        self.store.flushdb()
        self.broker: Any = redis.Redis.from_url(valkey.url(BROKER), decode_responses=True)
        self.broker.flushdb()
        self.worker = Worker("workers.app", folder, env=self.environment)
        self.gateway = Gateway(Settings.from_env(self.environment), Catalogue.load(config))

    def run(self, *arguments: str, status: int = 0, **environment: str) -> str:
        """`gateway dead …`; its output."""
        env = {**self.environment, "COLUMNS": "200", **environment}
        done = CliRunner(env=env).invoke(main, ["dead", *arguments])
        assert done.exit_code == status, (done.output, done.exception)
        assert CANARY not in done.output
        return done.output

    def letters(self, *arguments: str) -> list[dict[str, Any]]:
        """What `list --json` says."""
        found: list[dict[str, Any]] = json.loads(self.run("list", "--json", *arguments))
        return found

    def letter(self, call_id: str) -> dict[str, Any]:
        """What `show --json` says."""
        found: dict[str, Any] = json.loads(self.run("show", call_id, "--json"))
        return found

    def arrivals(self, path: str) -> list[Arrival]:
        """What the service saw, in order."""
        return self.service.arrivals(path)

    def dead(self, path: str, conduct: Conduct = FAILS, **options: Any) -> PendingCall:
        """A call that has failed for good."""
        self.service.behave(path, conduct)
        pending = self.gateway.submit(RestCall("shop", "POST", path, json={"card": CANARY}), **options)
        with pytest.raises(ServiceError):
            pending.result(timeout=20)
        return pending

    def replayed(self, call_id: str) -> PendingCall:
        """The call that replays a letter."""
        return self.gateway.pending(self.letter(call_id)["replayed_as"])

    def close(self) -> None:
        gc.collect()  # Celery's results say goodbye to the store, which must be there
        self.gateway.close()
        self.worker.kill()
        self.service.stop()
        self.store.close()
        self.broker.close()
        self._closed.close()


@pytest.fixture(scope="module")
def shop_of_all(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(valkey, tmp_path_factory.mktemp("shop"))
    yield made
    made.close()


@pytest.fixture
def shop(shop_of_all: Shop) -> Shop:
    shop_of_all.store.delete(*(shop_of_all.store.keys("gateway:dead*") or ["none"]))
    return shop_of_all


def path() -> str:
    return f"/orders/{uuid4().hex[:8]}"


def test_what_failed_is_kept_looked_at_and_replayed_in_a_slice(shop: Shop) -> None:
    orders, others = path(), path()
    for at in (orders, others):
        shop.service.behave(at, Conduct(status=500))
    call = RestCall("shop", "POST", orders, json={"card": CANARY}, query={"q": CANARY}, headers={"x-note": CANARY})
    failed = [
        shop.gateway.submit(call, correlation_id=f"order-{number}", idempotency_key=key, deadline=20.0)
        for number, key in enumerate((None, None, f"{CANARY}-{orders}"))
    ]
    failed.append(shop.gateway.submit(RestCall("closed", "GET", others)))
    for pending in failed:
        with pytest.raises(ServiceError):
            pending.result(timeout=20)

    found = shop.letters()
    assert {letter["id"] for letter in found} == {pending.id for pending in failed}
    (first,) = shop.letters("--service", "closed", "--error", "ServiceUnavailableError", "--since", "1h")
    assert (first["error"]["delivery"], first["repeatable"], first["started"]) == ("not_sent", True, 2)
    tries = [(made["number"], made["outcome"], made["delivery"]) for made in first["attempts"]]
    assert tries == [(number, "ServiceUnavailableError", "not_sent") for number in (1, 2)]
    assert shop.letters("--reason", "poisonous") == []
    listed = shop.run("list", "--limit", "3")
    assert "the latest 3 of 4 dead letters" in listed
    assert sum(pending.id in listed for pending in failed) == 3
    assert f"shop POST {orders}" in listed
    shown = shop.run("show", failed[2].id)
    assert "order-2" in shown
    assert "answered 500" in shown
    letter = shop.letter(failed[2].id)
    assert letter["deadline_s"] == pytest.approx(20.0)
    assert letter["message_bytes"] > 100
    assert [made["status"] for made in letter["attempts"]] == [500] * letter["started"]
    assert letter["started"] == 1

    shop.service.behave(orders, Conduct())
    before = len(shop.arrivals(orders))
    slice_ = ("--service", "shop", "--error", "servicefaulterror", "--since", "10m")
    planned = shop.run("replay", *slice_, "--dry-run")
    assert "3 would be replayed, 0 not" in planned
    assert len(shop.arrivals(orders)) == before
    assert [letter["replays"] for letter in shop.letters()] == [0] * 4
    done = shop.run("replay", *slice_, "--yes")
    assert "3 replayed, 0 not" in done
    for number, pending in enumerate(failed[:3]):
        reply = shop.replayed(pending.id).result(timeout=20)
        assert (reply.status, reply.correlation_id) == (200, f"order-{number}")
        assert reply.call_id != pending.id
        with pytest.raises(ServiceFaultError):
            pending.result(timeout=1)  # the dead call keeps its outcome
    arrived = shop.arrivals(orders)[before:]
    assert sorted(str(arrival.correlation_id) for arrival in arrived) == ["order-0", "order-1", "order-2"]
    assert sorted(str(arrival.idempotency_key) for arrival in arrived) == ["None", "None", f"{CANARY}-{orders}"]

    again = shop.run("replay", *slice_, "--yes")
    assert "3 letters left out: replayed before\nNothing to replay." in again
    assert len(shop.arrivals(orders)) == before + 3
    assert "replayed already, as" in shop.run("replay", failed[0].id, status=1)


def test_replay_to_another_service(shop: Shop) -> None:
    at = path()
    pending = shop.dead(at, correlation_id="moved")
    assert "no service 'bakup'" in shop.run("replay", pending.id, "--to", "bakup", status=1)
    assert shop.letter(pending.id)["replays"] == 0
    assert "1 replayed, 0 not" in shop.run("replay", pending.id, "--to", "backup", "--deadline", "7")
    reply = shop.replayed(pending.id).result(timeout=20)
    assert (reply.service, reply.status, reply.correlation_id) == ("backup", 200, "moved")
    (arrival,) = shop.arrivals(f"/backup{at}")
    assert (arrival.method, arrival.correlation_id) == ("POST", "moved")
    assert len(shop.arrivals(at)) == 1


def test_what_may_have_been_executed_needs_force(shop: Shop) -> None:
    at = path()
    pending = shop.dead(at, Conduct(action="reset"))
    with pytest.raises(OutcomeUnknownError):
        pending.result(timeout=1)
    assert "may have been executed" in shop.run("list")
    shop.service.behave(at, Conduct())
    before = len(shop.arrivals(at))
    assert "--force sends it again" in shop.run("replay", pending.id, status=1)
    assert "0 replayed, 1 not" in shop.run("replay", "--service", "shop", "--yes", status=1)
    assert len(shop.arrivals(at)) == before
    shop.run("replay", pending.id, "--force")
    assert shop.replayed(pending.id).result(timeout=20).status == 200
    assert len(shop.arrivals(at)) == before + 1


def test_a_replay_that_dies_has_a_letter_of_its_own(shop: Shop) -> None:
    at = path()
    pending = shop.dead(at)
    shop.run("replay", pending.id)
    replay = shop.replayed(pending.id)
    with pytest.raises(ServiceFaultError):
        replay.result(timeout=20)
    assert shop.letter(replay.id)["replay_of"] == pending.id
    shop.service.behave(at, Conduct())
    # The slice goes on where it ended: the first letter was replayed, the second was not.
    assert "1 replayed, 0 not" in shop.run("replay", "--service", "shop", "--yes")
    assert shop.replayed(replay.id).result(timeout=20).status == 200
    # Its first replay failed, with an answer: once more is what the operator asks for.
    shop.run("replay", pending.id, "--again")
    assert shop.replayed(pending.id).result(timeout=20).status == 200
    assert shop.letter(pending.id)["replays"] == 2
    assert "has a reply; --force sends it again" in shop.run("replay", pending.id, "--again", status=1)


def test_a_key_is_handed_on(shop: Shop) -> None:
    """Who submits with the key of a dead call shares its replay; where somebody did so before, nothing is sent."""
    at, key = path(), f"{CANARY}-{uuid4()}"
    pending = shop.dead(at, idempotency_key=key)
    shop.service.behave(at, Conduct())
    before = len(shop.arrivals(at))
    shop.run("replay", pending.id)
    shared = shop.gateway.submit(RestCall("shop", "POST", at, json={"card": CANARY}), idempotency_key=key)
    assert shared.id == shop.replayed(pending.id).id
    assert shared.result(timeout=20).status == 200
    assert len(shop.arrivals(at)) == before + 1

    # Its replay dies too, and is replayed by the first letter once more: the key is the replay's by then.
    at, key = path(), f"{CANARY}-{uuid4()}"
    pending = shop.dead(at, idempotency_key=key)
    shop.run("replay", pending.id)
    with pytest.raises(ServiceFaultError):
        shop.replayed(pending.id).result(timeout=20)
    shop.service.behave(at, Conduct())
    shop.run("replay", pending.id, "--again")
    assert shop.replayed(pending.id).result(timeout=20).status == 200

    at, key = path(), f"{CANARY}-{uuid4()}"
    pending = shop.dead(at, Conduct(action="reset"), idempotency_key=key)
    shop.service.behave(at, Conduct())
    newer = shop.gateway.submit(RestCall("shop", "POST", at, json={"card": CANARY}), idempotency_key=key)
    assert newer.result(timeout=20).status == 200
    before = len(shop.arrivals(at))
    assert f"call {newer.id} has its idempotency key since" in shop.run("replay", pending.id, status=1)
    assert shop.letter(pending.id)["replays"] == 0
    assert len(shop.arrivals(at)) == before


def test_a_step_of_a_chain_is_replayed_alone(shop: Shop) -> None:
    first, second, third = path(), path(), path()
    shop.service.behave(second, Conduct(status=500))
    steps = chain(
        shop.gateway.signature(RestCall("shop", "GET", first)),
        shop.gateway.signature(RestCall("shop", "GET", f"{second}/{{s}}", path={"s": previous("status")})),
        shop.gateway.signature(RestCall("shop", "GET", third)),
    )
    steps.apply_async()
    (letter,) = eventually(shop.letters, "the second step is dead")
    assert shop.letter(letter["id"])["later_steps"] == 1
    assert "1, which a replay leaves out" in shop.run("show", letter["id"])
    shop.service.behave(second, Conduct())
    shop.run("replay", letter["id"])
    assert shop.replayed(letter["id"]).result(timeout=20).status == 200
    assert shop.arrivals(second)[-1].path == f"{second}/200"  # what the first step had put in
    assert len(shop.arrivals(first)) == 1
    assert shop.arrivals(third) == []


def test_attempts_before_it_was_parked_are_in_the_letter(shop: Shop) -> None:
    at = path()
    shop.service.behave(at, Conduct(status=503, retry_after="2"))
    pending = shop.gateway.submit(RestCall("shop", "GET", at), deadline=15.0)
    with pytest.raises(ServiceError):
        pending.result(timeout=20)
    letter = shop.letter(pending.id)
    assert letter["parks"] >= 1
    assert [(made["number"], made["status"]) for made in letter["attempts"]] == [(1, 503), (2, 503)]
    first, second = letter["attempts"]
    assert 1.5 < second["at"] - first["at"] < 6
    shown = shop.run("show", pending.id)
    assert "ServiceUnavailableError 503" in shown
    assert "more: of workers that ended" not in shown


def test_a_broker_that_is_away_costs_nothing(shop: Shop) -> None:
    pending = shop.dead(path(), idempotency_key=f"{CANARY}-{uuid4()}")
    keyless = shop.dead(path())
    nowhere = {"GATEWAY_BROKER_URL": shop.environment["CLOSED_URL"].replace("http", "redis") + "/0"}
    records = set(shop.store.keys(key_of("*")))
    said = shop.run("replay", pending.id, keyless.id, status=1, **nowhere)
    assert "the broker does not" in said
    assert [letter["replays"] for letter in shop.letters()] == [0, 0]
    assert set(shop.store.keys(key_of("*"))) == records
    assert shop.run("replay", pending.id, keyless.id).endswith("2 replayed, 0 not\n")
    for each in (pending, keyless):
        with pytest.raises(ServiceFaultError):
            shop.replayed(each.id).result(timeout=20)


def test_a_broker_that_takes_nothing_costs_nothing(shop: Shop, tmp_path: Path) -> None:
    """It tells how much waits, and takes nothing: the replay is counted by then, which is taken back."""
    at, key = path(), f"{CANARY}-{uuid4()}"
    letters = [shop.dead(at), shop.dead(at, idempotency_key=key)]
    records = set(shop.store.keys(key_of("*")))
    mute = Valkey(tmp_path)
    try:
        with redis.Redis.from_url(mute.url()) as server:
            server.execute_command("ACL", "SETUSER", "default", "-lpush")
        for pending in letters:
            said = shop.run("replay", pending.id, status=1, GATEWAY_BROKER_URL=mute.url())
            assert "the broker does not" in said
    finally:
        mute.stop()
    assert [shop.letter(pending.id)["replays"] for pending in letters] == [0, 0]
    assert set(shop.store.keys(key_of("*"))) == records
    shop.service.behave(at, Conduct())
    assert shop.run("replay", letters[1].id).endswith("1 replayed, 0 not\n")
    assert shop.replayed(letters[1].id).result(timeout=20).status == 200


def test_a_store_that_is_away(shop: Shop) -> None:
    nowhere = {"GATEWAY_RESULT_URL": shop.environment["CLOSED_URL"].replace("http", "redis") + "/0"}
    for command in (("list",), ("show", "x"), ("replay", "x"), ("purge", "--all", "--yes")):
        assert "the result store does not answer" in shop.run(*command, status=1, **nowhere)


def test_what_is_no_dead_letter(shop: Shop) -> None:
    at = path()
    shop.service.behave(at, Conduct(status=404))
    with pytest.raises(ServiceRejectedError):
        shop.gateway.submit(RestCall("shop", "GET", at)).result(timeout=20)
    slow = path()
    shop.service.behave(slow, Conduct(action="hang"))
    cancelled = shop.gateway.submit(RestCall("shop", "GET", slow))
    eventually(lambda: shop.arrivals(slow), "it has arrived")
    cancelled.cancel()
    with pytest.raises(CallCancelledError):
        cancelled.result(timeout=20)
    refused = path()
    shop.service.behave(refused, Conduct(status=401))
    with pytest.raises(ServiceRejectedError):
        shop.gateway.submit(RestCall("shop", "GET", refused)).result(timeout=20)
    assert [(letter["error"]["type"], letter["operation"]) for letter in shop.letters()] == [
        ("ServiceAuthError", f"GET {refused}")
    ]


def test_what_cannot_be_read(shop: Shop) -> None:
    good = {"protocol": "rest", "service": "shop", "method": "POST", "route": "/x", "json": {"card": CANARY}}
    bad = {"version": 1, "call": {**good, "method": f"POST {CANARY}"}, "correlation_id": "c-42"}
    result = shop.gateway.celery.send_task("gateway.call", kwargs=bad, queue="gateway.shop")
    with pytest.raises(InvalidCallError):
        result.get(timeout=20)
    letter = shop.letter(result.id)
    assert (letter["reason"], letter["error"]["type"], letter["service"]) == ("unreadable", "InvalidCallError", "shop")
    assert (letter["correlation_id"], letter["operation"]) == ("c-42", None)  # whatever it says may be anything
    assert "not a call: method is not valid" in shop.run("replay", result.id, status=1)
    # No kwargs at all: it does not even get to the executor.
    result = shop.gateway.celery.send_task("gateway.call", kwargs={}, queue="gateway.shop")
    raw = {"id": "raw-1", "task": "gateway.call"}
    entry = {
        "body": json.dumps([CANARY]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": raw,
        "properties": {
            "delivery_tag": str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "gateway.shop"},
            "priority": 0,
        },
    }
    shop.broker.lpush("gateway.shop", json.dumps(entry))
    eventually(lambda: len(shop.letters("--reason", "unreadable")) == 3, "three letters")
    nameless = {**entry, "headers": {"task": "gateway.call", "id": "two\nlines"}}
    for tag in ("a", "b"):
        nameless["properties"]["delivery_tag"] = tag  # type: ignore[index]
        shop.broker.lpush("gateway.shop", json.dumps(nameless))
    (made,) = eventually(
        lambda: [each for each in shop.letters() if each["id"].startswith("no-id-")], "a letter without an id"
    )
    assert made["queue"] == "gateway.shop"
    shop.run("replay", "--reason", "unreadable", "--yes", status=1)
    shop.run("show", made["id"])


def test_purge(shop: Shop) -> None:
    at = path()
    pending = [shop.dead(at) for _ in range(3)]
    shop.service.behave(at, Conduct())
    assert "would be forgotten" in shop.run("purge", "--service", "shop", "--dry-run")
    assert len(shop.letters()) == 3
    assert "Aborted" in shop.run("purge", "--service", "shop", status=1)  # nobody said yes
    shop.run("replay", pending[0].id)
    assert "1 letter forgotten" in shop.run("purge", "--replayed", "--yes")
    assert "there is no dead letter" in shop.run("show", pending[0].id, status=1)
    assert "1 letter forgotten" in shop.run("purge", pending[1].id, "--yes")
    assert "name what to forget" in shop.run("purge", status=2)
    assert "leave out ids" in shop.run("purge", "--all", "--service", "shop", status=2)
    assert "1 letter forgotten" in shop.run("purge", "--all", "--yes")
    assert shop.run("list") == "No dead letters.\n"
    assert "name what to replay" in shop.run("replay", status=2)
    assert "not a time" in shop.run("list", "--since", "yesterday", status=2)
