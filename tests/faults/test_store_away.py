"""Without the Redis that holds the fleet's state every worker goes on with what it sees by itself."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery

from gateway import RestCall
from gateway.errors import OutcomeUnknownError
from gateway.routing import queue_of
from tests.faults.figures import show
from tests.faults.fleet import Fleet, eventually
from tests.servers.conduct import Conduct
from tests.servers.counting import CountingService

_CATALOGUE = """
[services.well]
rest.url = "${COUNTING_URL}"

[services.fails]
rest.url = "${COUNTING_URL}"
retry = { attempts = 1 }
# So many in a row, and no other rule.
breaker = { fail_max = 5, reset_timeout = 60.0, min_calls = 1000 }

[services.slow]
rest.url = "${COUNTING_URL}"
timeouts = { total = 60.0, attempt = 50.0 }
"""

WORKERS = 2
#: What a worker may have sent before it has seen `fail_max` failures: they come in rounds of so many.
ROUND = 20


@pytest.fixture
def apart(counting: CountingService, tmp_path: Path) -> Iterator[Fleet]:
    """Two workers whose results are on a server of their own."""
    with Fleet(tmp_path, _CATALOGUE, {"COUNTING_URL": counting.url}, workers=WORKERS, apart=True) as fleet:
        yield fleet


@pytest.fixture
def plain(apart: Fleet) -> Iterator[Celery]:
    """A producer that keeps no record and waits for no result: it needs the broker alone."""
    with Celery(broker=apart.settings.broker_url, set_as_current=False) as app:
        yield app


def send(app: Celery, service: str, path: str, count: int) -> list[str]:
    """Enqueue GETs, as docs/message-contract.md has it; their ids."""
    ids = [str(uuid4()) for _ in range(count)]
    call = {"protocol": "rest", "service": service, "method": "GET", "route": path}
    for call_id in ids:
        kwargs = {"version": 1, "call": call, "deadline_s": 60}
        app.send_task("gateway.call", kwargs=kwargs, queue=queue_of(service), task_id=call_id)
    return ids


def test_calls_flow_and_breakers_trip_while_the_store_is_away(
    apart: Fleet, plain: Celery, counting: CountingService
) -> None:
    counting.behave("/away/fails", Conduct(status=503))
    apart.store.process.stop()
    began = time.monotonic()
    ids = send(plain, "well", "/away/well", ROUND)
    eventually(lambda: len(counting.arrivals("/away/well")) >= ROUND, timeout=20, what="the arrival of all calls")
    took_s = time.monotonic() - began
    for _ in range(8):
        before = len(counting.arrivals("/away/fails"))
        send(plain, "fails", "/away/fails", ROUND)
        eventually(lambda: apart.waiting("fails") == 0, timeout=10, what="the taking of a round")
        # A call of the other service is behind it in every worker: the round is over when it has arrived.
        flowing = len(counting.arrivals("/away/well"))
        send(plain, "well", "/away/well", ROUND)
        eventually(
            lambda past=flowing: len(counting.arrivals("/away/well")) >= past + ROUND,  # type: ignore[misc]
            timeout=10,
            what="the arrival of calls to a service that is well",
        )
        if len(counting.arrivals("/away/fails")) == before:
            break
    tripped_after = len(counting.arrivals("/away/fails"))
    send(plain, "fails", "/away/fails", 5 * ROUND)
    eventually(lambda: apart.waiting("fails") == 0, timeout=20, what="the taking of the rest")
    send(plain, "well", "/away/well", 1)
    arrived = len(counting.arrivals("/away/fails"))
    show(
        f"without the store {ROUND} calls arrived within {took_s:.1f} s; {WORKERS} workers sent {tripped_after} calls"
        f" to the failing service before their own breakers were open, and {arrived - tripped_after} of"
        f" {5 * ROUND} afterwards"
    )
    assert 5 * WORKERS <= tripped_after < WORKERS * (5 + ROUND)
    assert arrived == tripped_after
    apart.store.restart()
    for call_id in ids:
        assert apart.gateway.pending(call_id).result(timeout=30).status == 200


def test_a_post_that_comes_back_while_nobody_can_be_asked_about_it_is_not_sent_again(
    apart: Fleet, counting: CountingService
) -> None:
    path = "/away/post"
    counting.behave(path, Conduct(action="hang", first=1))
    pending = apart.gateway.submit(RestCall("slow", "POST", path, json={"amount": 1}), deadline=60.0)
    eventually(lambda: counting.arrivals(path), timeout=15, what="the first arrival")
    owner = apart.owner(pending.id)
    assert owner is not None
    apart.store.process.stop()
    apart.kill(owner)
    # The broker says of it that it was delivered before; more cannot be known now.
    assert apart.redeliver() == 1
    eventually(lambda: apart.waiting("slow") == 0, timeout=15, what="its second delivery")
    apart.store.restart()
    with pytest.raises(OutcomeUnknownError) as caught:
        pending.result()
    assert caught.value.service == "slow"
    assert len(counting.arrivals(path)) == 1


def test_what_may_not_be_repeated_waits_for_the_store(apart: Fleet, counting: CountingService) -> None:
    """Sent without a lease, it would be sent again if its worker died: nothing would tell that it was."""
    path = "/away/waits"
    pending = apart.gateway.submit_many(
        [RestCall("slow", "POST", path, json={}), RestCall("slow", "GET", f"{path}/get")], deadline=60.0
    )
    assert [call.result(timeout=30).status for call in pending] == [200, 200]
    apart.freeze()
    pending = apart.gateway.submit_many(
        [RestCall("slow", "POST", path, json={}), RestCall("slow", "GET", f"{path}/get")], deadline=60.0
    )
    apart.store.process.stop()
    apart.thaw()
    eventually(lambda: len(counting.arrivals(f"{path}/get")) == 2, timeout=20, what="the GET's arrival")
    posts = [arrival for arrival in counting.arrivals(path) if arrival.method == "POST"]
    assert len(posts) == 1
    apart.store.restart()
    assert [call.result(timeout=30).status for call in pending] == [200, 200]
    posts = [arrival for arrival in counting.arrivals(path) if arrival.method == "POST"]
    assert len(posts) == 2
