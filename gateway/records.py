"""What is known of a call beside its result: one small Redis hash for each, written at submit and by the worker.

Its fields, numbers as text: `state`, a `CallState`; `deadline_at` and `submitted_at`, Unix times in seconds; `worker`,
who has it; `caller`, whose call it is, where callers sign.

What workers tell each other, see `workers.fleet`: `service`; `lease`, a number that grows with each owner of the call;
`lease_until`, Unix time in seconds, 0 if nobody owns it; `attempts`, how many were started; `open`, the latest of them,
0 if no outcome of it can be missing; `free`, how many count for nothing; `maybe`, 1 if the service may have acted on
one; `spent`, seconds in workers; `paid`, number of the attempt whose retry budget is paid; `parks`, how often the call
was parked; `why` it is parked; `interrupted`, 1 if its owner took it over from one that ended with an attempt on the
wire; `deaths`, how often that happened; `alone`, the attempt of a call with several deaths that goes without others of
its kind; `poison`, the lease of who was told that the call ends its workers; `history`, the failed attempts of workers
that parked it, see `gateway.dead_letter`.

Celery cannot tell a call that waits from an id that never was; this record can.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from gateway.envelope import MAX_DEADLINE_S

__all__ = ["GRACE_S", "RESULT_EXPIRES_S", "CallState", "key_of", "result_may_be_gone_at", "submitted"]

#: How long an outcome can be asked for: longer than the longest deadline, so that no copy of a call which comes late
#: finds no outcome, and is executed again.
RESULT_EXPIRES_S = int(MAX_DEADLINE_S) + 3600
#: The record outlives the result, so that a late reader learns that the call is over.
GRACE_S = 3600


class CallState(StrEnum):
    """Where a call is."""

    PENDING = "pending"
    """Accepted, and not yet started by a worker."""

    RUNNING = "running"
    """A worker has it."""

    PARKED = "parked"
    """It waits outside the workers until its service may be asked (again)."""

    DONE = "done"
    """It has an outcome, a reply or an error."""

    CANCELLED = "cancelled"
    """It was cancelled."""

    EXPIRED = "expired"
    """It was accepted so long ago that its outcome is gone."""

    UNKNOWN = "unknown"
    """No record of it: a wrong id, a call whose record has expired too, or a message of a producer without this package
    that no worker has seen yet."""


def key_of(call_id: str) -> str:
    """The record's Redis key."""
    return f"gateway:call:{call_id}"


def submitted(deadline_at: float, now: float, caller: str | None = None) -> dict[str, Any]:
    """The record's fields when a call is accepted; Unix times in seconds."""
    fields = {"state": CallState.PENDING.value, "deadline_at": repr(deadline_at), "submitted_at": f"{now:.0f}"}
    return fields if caller is None else {**fields, "caller": caller}


def result_may_be_gone_at(record: Mapping[bytes, bytes]) -> float:
    """From when on the outcome of a call may have expired, a Unix time: it was not stored before it was submitted.

    Of a call whose record says neither when it was submitted nor when it ends: never.
    """
    if b"submitted_at" in record:
        since = float(record[b"submitted_at"])
    elif b"deadline_at" in record:
        since = float(record[b"deadline_at"]) - MAX_DEADLINE_S
    else:
        return float("inf")
    return since + RESULT_EXPIRES_S
