"""What `admit.lua` is asked, and what it answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.policy import Policy
from gateway.records import GRACE_S, RESULT_EXPIRES_S
from workers.execution import NO_PROBE
from workers.resilience.breaker import Permit
from workers.verdict import Ask, Cancelled, Drop, Elsewhere, Go, Late, Past, Poison, Verdict, Wait

__all__ = ["LEASE_S", "MOST_DEATHS", "Admission"]

#: How long a call belongs to a worker that says nothing more. It is renewed while the call runs.
LEASE_S = 10.0
#: Workers that may end with an attempt of one call on the wire; after so many the call is taken for the cause.
MOST_DEATHS = 3

_PROBE = Permit(probe=True)
_NOTHING = Past()


class Admission:
    """One worker's questions.

    Args:
        policies: of the services.
        worker: this worker's name, for the records.
        results: prefix of the keys of results.
    """

    def __init__(self, policies: Mapping[str, Policy], *, worker: str, results: str) -> None:
        self._worker = worker
        self._results = results
        self._terms = {name: _terms(policy) for name, policy in policies.items()}

    def request(self, asks: Sequence[Ask]) -> bytes:
        """The script's argument."""
        return msgspec.json.encode(
            {
                "now": 0,
                "worker": self._worker,
                "lease_s": LEASE_S,
                "most_deaths": MOST_DEATHS,
                "expires_s": RESULT_EXPIRES_S + GRACE_S,
                "results": self._results,
                "services": {ask.service: self._terms[ask.service] for ask in asks},
                "asks": asks,
            }
        )

    @staticmethod
    def verdict(answer: Sequence[Any]) -> Verdict:
        """One of the script's answers."""
        match answer:
            case ["go", token, number, wait_s, probe, in_flight, *past]:
                return Go(token, number, float(wait_s), _PROBE if probe else NO_PROBE, in_flight, _past(past))
            case ["hold", token, number, why, estimate_s, due_s, *past]:
                return Wait(token, number, why, _known(estimate_s), _known(due_s), _past(past))
            case ["late", token, number, why, *past]:
                return Late(token, number, why, _past(past))
            case ["poison", token, number, deaths]:
                return Poison(token, number, deaths)
            case ["elsewhere", for_s]:
                return Elsewhere(float(for_s))
            case ["drop", why]:
                return Drop(why)
            case ["cancelled", maybe, attempts]:
                return Cancelled(maybe == 1, attempts)
            case _:
                raise ValueError(f"the admission script gave {answer!r}")


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


def _past(fields: Sequence[Any]) -> Past:
    interrupted, free, maybe, spent = fields
    if not (interrupted or free or maybe) and spent == "0":
        return _NOTHING
    return Past(interrupted == 1, free, maybe == 1, float(spent))


def _known(seconds: str) -> float | None:
    value = float(seconds)
    return None if value < 0 else value
