"""What is known of a call beside its result: one small Redis hash for each, written at submit and by the worker.

Its fields, numbers as text: `state`, a `CallState`; `deadline_at`, Unix time in seconds; `worker`, who has it.

What workers tell each other, see `workers.fleet`: `service`; `lease`, a number that grows with each owner of the call;
`lease_until`, Unix time in seconds, 0 if nobody owns it; `attempts`, how many were started; `open`, the latest of them,
0 if no outcome of it can be missing; `free`, how many count for nothing; `maybe`, 1 if the service may have acted on
one; `spent`, seconds in workers; `paid`, number of the attempt whose retry budget is paid; `parks`, how often the call
was parked; `why` it is parked.

Celery cannot tell a call that waits from an id that never was; this record can.
"""

from enum import StrEnum
from typing import Any

__all__ = ["GRACE_S", "RESULT_EXPIRES_S", "CallState", "key_of", "submitted"]

#: How long an outcome can be asked for.
RESULT_EXPIRES_S = 24 * 3600
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

    UNKNOWN = "unknown"
    """No record of it: a wrong id, a result that has expired, or a message of a producer without this package that no
    worker has seen yet."""


def key_of(call_id: str) -> str:
    """The record's Redis key."""
    return f"gateway:call:{call_id}"


def submitted(deadline_at: float) -> dict[str, Any]:
    """The record's fields when a call is accepted."""
    return {"state": CallState.PENDING.value, "deadline_at": repr(deadline_at)}
