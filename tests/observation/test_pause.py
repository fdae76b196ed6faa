"""A pause holds up a service in the whole fleet: nothing is sent, nothing is lost, and deadlines go on."""

import json
import threading
import time
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from gateway import PendingCall, RestCall
from gateway.cli import main
from gateway.dev.rabbitmq import RabbitMQ, find_rabbitmq
from gateway.errors import Delivery, ServiceUnavailableError
from gateway.fleet import Fleet
from gateway.records import CallState
from tests.integration.pool_rig import eventually
from tests.observation.watched import Watched
from tests.servers.conduct import Conduct
from tests.servers.worker import Worker

CATALOGUE = """
[services.billing]
rest.url = "${COUNTING_URL}"

[services.plain]
rest.url = "${COUNTING_URL}"
breaker = { enabled = false }
"""


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    if request.param == "redis":
        with Watched(folder, CATALOGUE) as made:
            yield made
        return
    try:
        find_rabbitmq()
    except FileNotFoundError as error:
        pytest.skip(f"nothing runs on RabbitMQ here: {error}")
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    with Watched(folder, CATALOGUE, GATEWAY_BROKER_URL=server.url()) as made:
        yield made
    server.stop()


@pytest.fixture(autouse=True)
def resumed(watched: Watched) -> Iterator[None]:
    yield
    for service in ("billing", "plain"):
        run(watched, "resume", service)


def run(watched: Watched, *arguments: str) -> Result:
    return CliRunner(env={**watched.environ, "COLUMNS": "160"}).invoke(main, arguments)


def test_under_load_nothing_is_sent_and_nothing_is_lost(watched: Watched) -> None:
    watched.service.behave("/load", Conduct(well_s=0.02))
    pending: list[PendingCall] = []
    is_over = threading.Event()

    def produce() -> None:
        while not is_over.wait(0.02):
            pending.extend(watched.gateway.submit_many([RestCall("billing", "GET", "/load/1")] * 5, deadline=60.0))

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        eventually(lambda: len(watched.service.arrivals("/load")) > 100, "calls flow")
        assert run(watched, "pause", "billing", "--reason", "a test").exit_code == 0
        paused_at = time.monotonic()
        time.sleep(2.0)
    finally:
        is_over.set()
        producer.join()
    arrivals = watched.service.arrivals("/load")
    # Attempts that were let through before, and those whose answer was on its way to the worker.
    assert max(arrival.at for arrival in arrivals) - paused_at < 0.5
    assert len(pending) > len(arrivals)
    assert run(watched, "resume", "billing").output.startswith("billing: resumed")
    assert {each.result(timeout=60).status for each in pending} == {200}
    assert len(watched.service.arrivals("/load")) == len(pending), "each was sent once"


def test_a_deadline_goes_on(watched: Watched) -> None:
    run(watched, "pause", "plain")
    began = time.monotonic()
    pending = watched.gateway.submit(RestCall("plain", "POST", "/late", json={}), deadline=2.0)
    with pytest.raises(ServiceUnavailableError) as caught:
        pending.result(timeout=20)
    assert "calls of plain are paused" in caught.value.message
    assert caught.value.delivery is Delivery.NOT_SENT
    assert 1.0 < time.monotonic() - began < 5
    assert watched.service.arrivals("/late") == []


def test_it_outlives_workers_and_ends_by_itself(watched: Watched) -> None:
    run(watched, "pause", "plain", "--for", "5s")
    pending = watched.gateway.submit(RestCall("plain", "GET", "/later"), deadline=60.0)
    eventually(lambda: pending.state is CallState.PARKED, "it is parked")
    watched.worker.process.stop()
    watched.worker = Worker("workers.app", watched.folder, env=watched.environ, concurrency=200)
    assert watched.service.arrivals("/later") == []
    assert pending.result(timeout=30).status == 200
    with Fleet.open(watched.environ["GATEWAY_RESULT_URL"]) as fleet:
        assert fleet.states(["plain"])["plain"].pause is None


def test_it_is_shown_and_named_after_who_did_it(watched: Watched) -> None:
    assert (
        "until `gateway resume billing`"
        in run(watched, "pause", "billing", "--reason", "migration\nof the table").output
    )
    state = json.loads(run(watched, "services", "--json").output)["services"]["billing"]["state"]
    assert state["paused"]["reason"] == "migration?of the table"
    assert state["paused"]["by"].endswith("by hand")
    assert state["paused"]["ends_in_s"] is None
    assert state["breaker"]["phase"] == "closed"
    assert "paused by" in run(watched, "services").output
    assert json.loads(run(watched, "top", "--json").output)["services"]["billing"]["paused"] is not None
    # Again: it stays paused, since when it was.
    assert run(watched, "pause", "billing", "--for", "1h").exit_code == 0
    again = json.loads(run(watched, "services", "--json").output)["services"]["billing"]["state"]["paused"]
    assert 3590 < again["ends_in_s"] <= 3600
    assert again["began_s_ago"] >= state["paused"]["began_s_ago"]
    assert run(watched, "resume", "billing").output.startswith("billing: resumed")
    assert run(watched, "resume", "billing").output == "billing: was not paused\n"


def test_what_is_refused(watched: Watched) -> None:
    unknown = run(watched, "pause", "biling")
    assert unknown.exit_code == 1
    assert "no service 'biling'; did you mean 'billing'?" in unknown.output
    assert "'soon' is not a time; write 90s, 30m, 6h or 2d" in run(watched, "pause", "billing", "--for", "soon").output
