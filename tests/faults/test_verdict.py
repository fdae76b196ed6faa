"""The judge of the fault matrix sees every broken promise, and no other."""

from collections.abc import Mapping, Sequence

import pytest

from gateway.errors import (
    DeadlineExceededError,
    Delivery,
    GatewayUnavailableError,
    OutcomeUnknownError,
    ServiceError,
    ServiceFaultError,
)
from tests.faults.matrix.fault import Fault
from tests.faults.matrix.made import Kind, Made
from tests.faults.matrix.verdict import Row, judge
from tests.servers.ledger import Entry

_STRICT = Fault(name="strict", inflict=lambda scene: None)
_KILLS = Fault(name="kills", inflict=lambda scene: None, unknown=True, refuses=True, errors=(DeadlineExceededError,))


def made(kind: Kind, path: str, *, error: ServiceError | None = None, lost: bool = False) -> Made:
    """A call that was replied to, or ended with an error, or did not end."""
    replied = error is None and not lost
    return Made(kind=kind, path=path, submitted=11.0, call_id=path, replied=replied, error=error, ended=12.0)


def refused(path: str, delivery: Delivery) -> Made:
    """A call whose submit failed."""
    error = GatewayUnavailableError("away", delivery=delivery)
    return Made(kind="POST", path=path, submitted=11.0, refused=error, ended=12.0)


def verdict(fault: Fault, calls: Sequence[Made], arrivals: Mapping[str, int], *, over_at: float = 10.0) -> Row:
    """With a call that is well beside them, so that there was a recovery."""
    counts = {"/well": 1, **arrivals}
    entries = {path: [_entry(path)] * count for path, count in counts.items()}
    return judge(fault, "redis", [made("GET", "/well"), *calls], entries, over_at=over_at, took_s=1.0)


def _entry(path: str) -> Entry:
    return Entry(at=11.5, method="GET", path=path, request_id="r", correlation_id="c", idempotency_key="None")


def test_nothing_is_broken_where_all_is_well() -> None:
    calls = [made("GET", "/a"), made("POST", "/b"), made("keyed", "/c")]
    row = verdict(_STRICT, calls, {"/a": 3, "/b": 1, "/c": 1})
    assert row.broken == ()
    assert (row.accepted, row.replies, row.unknown, row.lost, row.twice, row.attempts) == (4, 4, 0, 0, 0, 3)
    assert row.recovery_s == 2.0


@pytest.mark.parametrize(
    ("call", "arrived", "broken"),
    [
        (made("POST", "/x", lost=True), 1, "lost"),
        (made("POST", "/x"), 2, "sent twice"),
        (made("GET", "/x"), 4, "sent too often"),
        (made("GET", "/x"), 0, "never arrived"),
        (made("GET", "/x", error=OutcomeUnknownError("?")), 1, "repeatable and unknown"),
        (made("keyed", "/x", error=OutcomeUnknownError("?")), 1, "repeatable and unknown"),
        (made("POST", "/x", error=DeadlineExceededError("late")), 1, "told as not sent, and arrived"),
        (made("POST", "/x", error=ServiceFaultError("?", delivery=Delivery.ANSWERED)), 1, "for no reason"),
        (refused("/x", Delivery.NOT_SENT), 1, "refused as not enqueued, and arrived"),
    ],
)
def test_each_promise_is_held_to_whatever_the_fault(call: Made, arrived: int, broken: str) -> None:
    row = verdict(_KILLS, [call], {"/x": arrived})
    assert len(row.broken) == 1
    assert broken in row.broken[0]
    assert "/x" in row.broken[0]


@pytest.mark.parametrize(
    ("call", "arrived"),
    [
        (made("POST", "/x", error=OutcomeUnknownError("?")), 1),
        (made("POST", "/x", error=DeadlineExceededError("late", delivery=Delivery.MAYBE_SENT)), 1),
        (refused("/x", Delivery.MAYBE_SENT), 1),
    ],
)
def test_what_a_fault_may_cause_is_broken_only_where_it_may_not(call: Made, arrived: int) -> None:
    assert verdict(_KILLS, [call], {"/x": arrived}).broken == ()
    assert len(verdict(_STRICT, [call], {"/x": arrived}).broken) == 1


def test_a_fleet_that_does_not_recover_is_found() -> None:
    row = verdict(_STRICT, [], {}, over_at=11.5)
    assert row.recovery_s is None
    assert [text for text in row.broken if "recovery" in text]


def test_a_submit_that_hangs_is_found() -> None:
    call = made("GET", "/x")
    call.submit_s = 16.0
    (text,) = verdict(_STRICT, [call], {"/x": 1}).broken
    assert "submit took 16.0 s" in text
