"""What the fleet shares, at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.fleet_state import ServiceState

__all__ = ["FleetView"]


@dataclass(frozen=True, slots=True)
class FleetView:
    """One look.

    Attributes:
        states: by service.
        queued: messages in the queue of each service; a service whose queue could not be asked is missing.
        oldest_s: for how long the first message of each queue waits; only where the broker tells.
        dead: dead letters.
    """

    states: Mapping[str, ServiceState]
    queued: Mapping[str, int]
    oldest_s: Mapping[str, float]
    dead: int
