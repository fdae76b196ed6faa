"""What becomes of a call whose worker is killed, once its message comes back."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import PendingCall, RestCall
from gateway.errors import DeadlineExceededError, Delivery, OutcomeUnknownError
from tests.faults.fleet import Fleet, eventually
from tests.servers.conduct import Conduct
from tests.servers.counting import CountingService

_CATALOGUE = """
[services.slow]
rest.url = "${COUNTING_URL}"
timeouts = { total = 60.0, attempt = 50.0 }
retry = { attempts = 3, backoff = 0.05, max_backoff = 0.1 }
"""

#: In the slow variant the killed worker's lease runs out by itself; in the other it is ended in Redis.
SCALES = [pytest.param(False, id="lease ended"), pytest.param(True, id="lease run out", marks=pytest.mark.slow)]


@pytest.fixture
def pair(counting: CountingService, tmp_path: Path) -> Iterator[Fleet]:
    """Two workers, of which one will not survive."""
    with Fleet(tmp_path, _CATALOGUE, {"COUNTING_URL": counting.url}, workers=2) as fleet:
        yield fleet


def kill_in_flight(fleet: Fleet, counting: CountingService, pending: PendingCall, path: str, *, waits: bool) -> None:
    """Kill the worker that waits for the call's answer, and have the message delivered again."""
    eventually(lambda: counting.arrivals(path), timeout=15, what="the first arrival")
    # The record and the unacknowledged message are written before the request.
    owner = fleet.owner(pending.id)
    assert owner is not None
    fleet.kill(owner)
    eventually(lambda: counting.arrivals(path)[0].ended, timeout=5, what="the end of the dead worker's connection")
    if waits:
        until = float(fleet.record(pending.id)["lease_until"])
        eventually(lambda: time.time() > until, timeout=60, what="the lease's end")
    else:
        fleet.end_leases([pending.id])
    # The other worker may have given it back already: a dead worker's messages come back about when its leases end.
    assert fleet.redeliver() <= 1


@pytest.mark.parametrize("waits", SCALES)
def test_a_post_is_not_sent_again(pair: Fleet, counting: CountingService, waits: bool) -> None:
    path = f"/death/post/{waits}"
    counting.behave(path, Conduct(action="hang", first=1))
    pending = pair.gateway.submit(RestCall("slow", "POST", path, json={"amount": 1}), deadline=60.0)
    kill_in_flight(pair, counting, pending, path, waits=waits)
    with pytest.raises(OutcomeUnknownError) as caught:
        pending.result()
    assert pending.deadline_at is not None
    assert time.time() < pending.deadline_at
    # A worker said so; it is not what the gateway makes up when no outcome comes.
    assert pair.stored(pending.id) is not None
    assert caught.value.delivery is Delivery.MAYBE_SENT
    assert caught.value.service == "slow"
    assert len(counting.arrivals(path)) == 1


@pytest.mark.parametrize("keyed", [False, True], ids=["GET", "POST with an idempotency key"])
@pytest.mark.parametrize("waits", SCALES)
def test_what_may_be_repeated_is_sent_again(pair: Fleet, counting: CountingService, keyed: bool, waits: bool) -> None:
    path = f"/death/{keyed}/{waits}"
    counting.behave(path, Conduct(action="hang", first=1))
    call = RestCall("slow", "POST" if keyed else "GET", path)
    pending = pair.gateway.submit(call, deadline=60.0, idempotency_key="charge-42" if keyed else None)
    kill_in_flight(pair, counting, pending, path, waits=waits)
    reply = pending.result()
    arrivals = counting.arrivals(path)
    assert reply.status == 200
    assert len(arrivals) == 2
    assert [arrival.idempotency_key for arrival in arrivals] == (["charge-42"] * 2 if keyed else [None] * 2)
    assert len({arrival.request_id for arrival in arrivals}) == 2
    assert reply.attempts == 2


def test_a_message_that_comes_back_while_its_call_runs_is_not_performed(pair: Fleet, counting: CountingService) -> None:
    path = "/death/twin"
    counting.behave(path, Conduct(delay_s=3.0))
    pending = pair.gateway.submit(RestCall("slow", "GET", path), deadline=30.0)
    eventually(lambda: counting.arrivals(path), timeout=15, what="the first arrival")
    assert pair.redeliver() == 1
    assert pending.result().attempts == 1
    assert len(counting.arrivals(path)) == 1
    # Both copies of the message are done with, so nothing will be left to be delivered again.
    eventually(lambda: not pair.unacknowledged(), timeout=40, what="the second message's end")
    assert len(counting.arrivals(path)) == 1


@pytest.mark.parametrize(("deadline_s", "arrivals"), [(25.0, 2), (7.0, 1)], ids=["time enough", "the lease is longer"])
def test_a_message_that_comes_back_at_once_still_ends_its_call(
    pair: Fleet, counting: CountingService, deadline_s: float, arrivals: int
) -> None:
    """As RabbitMQ delivers it: the dead worker's lease still holds, and may hold beyond the call's deadline."""
    path = f"/death/at-once/{deadline_s}"
    counting.behave(path, Conduct(action="hang", first=1))
    pending = pair.gateway.submit(RestCall("slow", "GET", path), deadline=deadline_s)
    eventually(lambda: counting.arrivals(path), timeout=15, what="the first arrival")
    owner = pair.owner(pending.id)
    assert owner is not None
    pair.kill(owner)
    assert pair.redeliver() == 1
    eventually(lambda: pair.stored(pending.id) is not None, timeout=30, what="an outcome in the store")
    if arrivals == 2:
        assert pending.result().attempts == 2
    else:
        with pytest.raises(DeadlineExceededError) as caught:
            pending.result()
        assert caught.value.delivery is Delivery.MAYBE_SENT
    assert len(counting.arrivals(path)) == arrivals
