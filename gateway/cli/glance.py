"""The fleet's state for people: read once within two seconds, or the reason why it is unknown, in words and as JSON."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from gateway.catalogue import Catalogue, CatalogueError
from gateway.fleet import Fleet
from gateway.fleet_state import BreakerState, ServiceState
from gateway.policy import Policy
from gateway.redis_client import ERRORS
from gateway.settings import Settings, SettingsError

__all__ = [
    "PHASE_COLOURS",
    "Glance",
    "breaker_json",
    "breaker_words",
    "counted",
    "one_line",
    "open_catalogue",
    "seconds",
    "state_json",
]

PHASE_COLOURS = {"closed": "green", "open": "red", "half-open": "yellow"}


@dataclass(frozen=True, slots=True)
class Glance:
    """The state of services at one moment.

    Attributes:
        states: by name; empty if unknown.
        unknown: why nothing is known; empty if it is.
    """

    states: dict[str, ServiceState] = field(default_factory=dict)
    unknown: str = ""

    @classmethod
    def at(cls, names: Iterable[str]) -> Self:
        """Of these services, from the Redis that the environment names. Never fails."""
        try:
            settings = Settings.from_env()
        except SettingsError as error:
            return cls(unknown=str(error))
        try:
            with Fleet.open(settings.result_url) as fleet:
                return cls(states=fleet.states(names))
        except ERRORS as error:
            return cls(unknown=f"the result store does not answer ({one_line(str(error))})")


def open_catalogue(path: str) -> Catalogue:
    """A catalogue with its addresses, or with what is written in their place where the environment lacks some.

    Raises:
        CatalogueError: it is wrong.
    """
    try:
        return Catalogue.load(path, os.environ)
    except CatalogueError:
        return Catalogue.load(path)


def seconds(value: float) -> str:
    """A duration, as short as it can be read."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 2 * 3600 else f"{value / 3600:.0f} h"


def counted(count: int, thing: str) -> str:
    """So many of a thing."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def one_line(text: str) -> str:
    """Text of others that is safe to show in a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def breaker_words(state: ServiceState, policy: Policy) -> str:
    """The phase, and what comes next."""
    breaker = state.breaker
    if state.pause is not None:
        for_s = state.pause.until - state.now
        how_long = "" if for_s == float("inf") else f" for {seconds(for_s)}"
        return f"paused{how_long} by {one_line(state.pause.by or 'somebody')}"
    if not policy.breaker.enabled:
        return "off"
    if breaker.by_hand:
        return "open by hand"
    if breaker.phase == "open":
        left = (breaker.until or 0.0) - state.now
        return f"open, probes in {seconds(left)}" if left > 0 else "open, probes are due"
    if breaker.phase == "half-open":
        return f"half-open, {breaker.successes} of {policy.breaker.success_threshold} probes good"
    return breaker.phase


def breaker_json(breaker: BreakerState, now: float) -> dict[str, Any]:
    """Times as seconds from now."""
    waits = breaker.phase == "open" and not breaker.by_hand
    return {
        "phase": breaker.phase,
        "by_hand": breaker.by_hand,
        "opened_s_ago": None if breaker.opened_at is None else now - breaker.opened_at,
        "closed_s_ago": None if breaker.closed_at is None else now - breaker.closed_at,
        "probes_in_s": max(0.0, (breaker.until or 0.0) - now) if waits else None,
        "probes": {"granted": breaker.granted, "on_the_wire": breaker.probing, "succeeded": breaker.successes},
        "reason": breaker.reason,
        "by": breaker.by,
        "trips": breaker.trips,
        "epoch": breaker.epoch,
    }


def pause_json(state: ServiceState) -> dict[str, Any] | None:
    """Times as seconds from now; null if it is not paused."""
    pause = state.pause
    if pause is None:
        return None
    return {
        "ends_in_s": None if pause.until == float("inf") else pause.until - state.now,
        "began_s_ago": None if pause.at is None else state.now - pause.at,
        "by": pause.by,
        "reason": pause.reason,
    }


def state_json(state: ServiceState, policy: Policy) -> dict[str, Any]:
    """A service's state; times as seconds from now, `limit` as it acts now."""
    return {
        "breaker": breaker_json(state.breaker, state.now),
        "paused": pause_json(state),
        "in_flight": state.limit.in_flight,
        "concurrency": state.limit.concurrency(policy.limit),
        "rate": policy.limit.rate,
        "blocked_for_s": state.blocked_s,
        "retries_left": state.budget.tokens_at(state.now, policy.retry),
        "parked": state.parked,
        "parked_due_in_s": None if state.due_at is None else max(0.0, state.due_at - state.now),
    }
