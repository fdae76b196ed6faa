"""What the fleet shares about a service, as frozen values, read from the fields that `gateway.fleet_keys` names.

All times are Unix seconds of the clock of the Redis that holds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, isfinite
from typing import Any

from gateway.policy import Limit, Retry

__all__ = ["BreakerState", "BudgetState", "LimitState", "PauseState", "ServiceState", "read_state", "text"]

#: More retries than these are not saved up, as in `workers/fleet/admit.lua`.
_BUDGET_MOST = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """A service's circuit breaker.

    Attributes:
        phase: `closed`, `open` or `half-open`.
        epoch: grows with each change.
        until: when an open one lets probes through; infinite: when somebody closes it.
        opened_at, closed_at: when it last opened and closed; None: it never did.
        successes: of probes, in this epoch.
        granted: probes that were let through in this epoch.
        probing: probes that are on the wire.
        reason: why it last opened.
        by: the worker that opened it, or who did the latest change by hand.
        trips: how often it opened by itself.
    """

    phase: str = "closed"
    epoch: int = 0
    until: float | None = None
    opened_at: float | None = None
    closed_at: float | None = None
    successes: int = 0
    granted: int = 0
    probing: int = 0
    reason: str | None = None
    by: str | None = None
    trips: int = 0

    @property
    def by_hand(self) -> bool:
        """Whether it stays open until somebody closes it."""
        return self.phase == "open" and self.until == float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """What a service is asked now, and what was learned of what it bears.

    Attributes:
        in_flight: attempts on the wire.
        arrival_at: the rate's theoretical arrival time, as GCRA has it.
        blocked_until: until when the service asked to be left alone; None: it did not.
        penalty_s: how long the latest such block was, or the next will be at least.
        adaptive: the concurrency found from latency; None: not looked for, or not found yet.
    """

    in_flight: int = 0
    arrival_at: float | None = None
    blocked_until: float | None = None
    penalty_s: float = 0.0
    adaptive: float | None = None

    def next_in_s(self, now: float, policy: Limit) -> float:
        """Seconds until the rate lets the next attempt through."""
        ahead = max(self.arrival_at or 0.0, now) + (1 - policy.burst) * policy.interval_s - now
        return max(0.0, ahead) if policy.rate is not None else 0.0

    def concurrency(self, policy: Limit) -> int:
        """Attempts that may be on the wire at once, by what was found from latency if that is looked for."""
        if not policy.adaptive or self.adaptive is None or not isfinite(self.adaptive):
            return policy.concurrency
        return max(1, min(policy.concurrency, floor(self.adaptive)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """A service's retry budget.

    Attributes:
        tokens: retries that could be made at `at`, negative once some are promised; None: it was never used.
        at: when that was.
    """

    tokens: float | None = None
    at: float | None = None

    def tokens_at(self, now: float, policy: Retry) -> float:
        """Retries that can be made now: the tokens, with what has been added by the second since."""
        tokens = policy.budget_per_s if self.tokens is None else self.tokens
        since = 0.0 if self.at is None else max(0.0, now - self.at)
        return min(_BUDGET_MOST, tokens + policy.budget_per_s * since)


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseState:
    """A service that nobody is to call now.

    Attributes:
        until: when calls go on; infinite: when somebody resumes it.
        at: since when.
        by: who paused it.
        reason: why.
    """

    until: float
    at: float | None = None
    by: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """What the fleet shares about one service.

    Attributes:
        name: of the service.
        now: when this was.
        breaker, limit, budget: its gates.
        pause: that stands before all of them; None: there is none now.
        parked: calls that wait outside the workers.
        due_at: when the first of them may go on, if nothing else holds it; None: there is none.
    """

    name: str
    now: float
    breaker: BreakerState = BreakerState()
    limit: LimitState = LimitState()
    budget: BudgetState = BudgetState()
    pause: PauseState | None = None
    parked: int = 0
    due_at: float | None = None

    @property
    def blocked_s(self) -> float:
        """Seconds for which the service is left alone because it asked for it; 0: it is not."""
        return max(0.0, (self.limit.blocked_until or 0.0) - self.now)


def read_state(
    name: str,
    now: float,
    breaker: Mapping[Any, Any],
    probing: int,
    limit: Mapping[Any, Any],
    in_flight: int,
    budget: Mapping[Any, Any],
    parked: int,
    first: list[tuple[Any, float]],
    paused: Mapping[Any, Any],
) -> ServiceState:
    """The state of a service from what Redis has: its hashes, and how many of its attempts and calls are where.

    A missing field, or one that cannot be read, is as if nothing of the kind had ever happened.
    """
    gate, bound, purse, pause = (
        {text(field): text(value) for field, value in found.items()} for found in (breaker, limit, budget, paused)
    )
    until = _number(pause, "until") or 0.0
    return ServiceState(
        name=name,
        now=now,
        breaker=BreakerState(
            phase=gate.get("phase", "closed"),
            epoch=_count(gate, "epoch"),
            until=_number(gate, "until"),
            opened_at=_number(gate, "opened_at"),
            closed_at=_number(gate, "closed_at"),
            successes=_count(gate, "successes"),
            granted=_count(gate, "granted"),
            probing=probing,
            reason=gate.get("reason") or None,
            by=gate.get("by") or None,
            trips=_count(gate, "trips"),
        ),
        limit=LimitState(
            in_flight=in_flight,
            arrival_at=_number(bound, "tat"),
            blocked_until=_number(bound, "blocked_until"),
            penalty_s=_number(bound, "penalty_s") or 0.0,
            adaptive=_number(bound, "adaptive"),
        ),
        budget=BudgetState(tokens=_number(purse, "tokens"), at=_number(purse, "at")),
        pause=None
        if until <= now
        else PauseState(
            until=until, at=_number(pause, "at"), by=pause.get("by") or None, reason=pause.get("reason") or None
        ),
        parked=parked,
        due_at=first[0][1] if first else None,
    )


def _number(fields: Mapping[str, str], name: str) -> float | None:
    """A field as a number; None if there is none, or what is there is none."""
    try:
        value = float(fields[name])
    except (KeyError, ValueError):
        return None
    return None if value != value else value


def _count(fields: Mapping[str, str], name: str) -> int:
    value = _number(fields, name)
    return 0 if value is None or not isfinite(value) else int(value)


def text(value: bytes | str) -> str:
    """What a client without decoding got."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
