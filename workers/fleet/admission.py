"""The step before each attempt: one round trip to Redis, shared by all attempts that ask in the same moment.

It takes the call's lease, and asks breaker, limits and retry budget of the fleet. What they decide by is in
`admit.lua`.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

import msgspec

from gateway.clock import FleetClock
from gateway.policy import Policy
from gateway.records import GRACE_S, RESULT_EXPIRES_S
from workers.fleet.batch import Batch
from workers.fleet.script import Script
from workers.resilience.breaker import Permit, Phase
from workers.verdict import Ask, Cancelled, Drop, Elsewhere, Go, Late, Past, Verdict, Wait

__all__ = ["LEASE_S", "Admission"]

_log = logging.getLogger("gateway.admission")

#: How long a call belongs to a worker that says nothing more. It is renewed while the call runs.
LEASE_S = 30.0
#: Redis that does not answer must not hold up calls.
PATIENCE_S = 1.0


class Admission:
    """Asks for many attempts at once.

    Args:
        client: of the Redis that holds the fleet's state.
        policies: of the services.
        worker: this worker's name, for the records.
        results: prefix of the keys of results.
        clock: learns the time of that Redis.
    """

    def __init__(
        self, client: Any, policies: Mapping[str, Policy], *, worker: str, results: str, clock: FleetClock
    ) -> None:
        self._client = client
        self._worker = worker
        self._results = results
        self._clock = clock
        self._script = Script("admit.lua")
        self._terms = {name: _terms(policy) for name, policy in policies.items()}
        self._batch: Batch[Ask, Verdict] = Batch(self._ask_all)
        #: What the fleet has: phase of the breaker, and until when an open one stays so (Unix seconds).
        self.phases: dict[str, tuple[Phase, float]] = {}
        #: The limit of attempts at once, as it is now.
        self.concurrency: dict[str, int] = {}

    async def ask(self, ask: Ask) -> Verdict:
        """May this attempt be sent?

        Raises:
            ServiceError: never.
            TimeoutError, redis.RedisError, OSError: Redis does not answer.
        """
        return await self._batch(ask)

    async def _ask_all(self, asks: Sequence[Ask]) -> list[Verdict]:
        request = {
            "now": 0,
            "worker": self._worker,
            "lease_s": LEASE_S,
            "expires_s": RESULT_EXPIRES_S + GRACE_S,
            "results": self._results,
            "services": {ask.service: self._terms[ask.service] for ask in asks},
            "asks": [
                (
                    ask.call_id,
                    ask.service,
                    ask.number,
                    ask.token,
                    ask.parks,
                    ask.left_s,
                    ask.patience_s,
                    1 if ask.hedge else 0,
                    ask.life_s,
                )
                for ask in asks
            ],
        }
        asked_at = monotonic()
        async with asyncio.timeout(PATIENCE_S):
            raw = await self._script.run(self._client, msgspec.json.encode(request))
        reply = msgspec.json.decode(raw)
        self._clock.observe(float(reply["now"]), asked_at, monotonic())
        for name, (phase, until, concurrency) in reply["services"].items():
            self.phases[name] = (phase, float(until))
            self.concurrency[name] = concurrency
        return [_verdict(answer) for answer in reply["answers"]]


def _terms(policy: Policy) -> dict[str, Any]:
    """What the script has to know of a service."""
    return {
        "interval": policy.limit.interval_s,
        "burst": policy.limit.burst,
        "concurrency": policy.limit.concurrency,
        "adaptive": policy.limit.adaptive,
        "breaker": policy.breaker.enabled,
        "probes": policy.breaker.probe_count,
        "share": policy.retry.budget,
        "per_s": policy.retry.budget_per_s,
    }


def _verdict(answer: Sequence[Any]) -> Verdict:
    match answer:
        case ["go", token, number, wait_s, probe, in_flight, *past]:
            return Go(token, number, float(wait_s), Permit(probe=probe == 1), in_flight, _past(past))
        case ["hold", token, number, why, estimate_s, due_s, *past]:
            return Wait(token, number, why, _known(estimate_s), _known(due_s), _past(past))
        case ["late", token, number, why, *past]:
            return Late(token, number, why, _past(past))
        case ["elsewhere", for_s]:
            return Elsewhere(float(for_s))
        case ["drop", why]:
            return Drop(why)
        case ["cancelled", maybe]:
            return Cancelled(maybe == 1)
        case _:
            raise ValueError(f"the admission script gave {answer!r}")


def _past(fields: Sequence[Any]) -> Past:
    interrupted, free, maybe, spent = fields
    return Past(interrupted == 1, free, maybe == 1, float(spent))


def _known(seconds: str) -> float | None:
    value = float(seconds)
    return None if value < 0 else value
