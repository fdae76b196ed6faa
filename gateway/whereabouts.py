"""Where a call is that has not ended: what its record says of it, see `gateway.records`."""

from typing import Any, Self

import msgspec

from gateway.fleet_keys import parked
from gateway.records import CallState, key_of

__all__ = ["Whereabouts"]


class Whereabouts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a call at this moment; None where nothing is.

    Attributes:
        deadline_at: Unix seconds.
        worker: `host:pid`; of a call that runs.
        attempts: how many were started, in all workers.
        why: what a parked call waits for.
        due_at: Unix seconds when it may go on; None: a gate decides, such as a breaker.
    """

    deadline_at: float | None = None
    worker: str | None = None
    attempts: int = 0
    why: str | None = None
    due_at: float | None = None

    @classmethod
    def read(cls, client: Any, call_id: str, state: CallState, now: float) -> Self:
        """Ask the results' Redis.

        Args:
            client: a blocking client; what `gateway.redis_client.ERRORS` has is raised if it does not answer.
            call_id: of the call.
            state: as `gateway.results` has it.
            now: Unix seconds.
        """
        names = ("deadline_at", "worker", "attempts", "why", "service")
        found = client.hmget(key_of(call_id), names)
        deadline_at, worker, attempts, why, service = (None if each is None else each.decode() for each in found)
        is_parked = state is CallState.PARKED
        due_at = client.zscore(parked(service), call_id) if is_parked and service is not None else None
        return cls(
            deadline_at=None if deadline_at is None else float(deadline_at),
            worker=worker if state is CallState.RUNNING else None,
            attempts=int(attempts or 0),
            why=why if is_parked else None,
            # What waits for a gate is due since it was parked.
            due_at=due_at if due_at is not None and due_at > now else None,
        )
