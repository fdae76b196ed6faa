"""What became of attempts, and what a worker learned, on its way to `report.lua`. No call waits for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.policy import Policy

__all__ = ["End", "Reports"]

#: Ends that are kept while Redis is away. Further ones are forgotten: leases and places expire by themselves.
_KEPT = 10_000
_MOST = 500


class End(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An attempt that is over, or a call. Encoded it is a list, in this order.

    Attributes:
        call_id, service: which call.
        number: of the attempt; 0 where it is about the call.
        token: of the call's lease.
        health: `good`, `bad` or `neutral`, of the service.
        probe: it was let through a half-open breaker.
        over: this worker gives the call back without an outcome.
        maybe_sent: the service may have acted on one of the call's attempts.
        limited: the service said that it is asked too often.
        unused: the retry budget paid for it, and it was never sent: the first attempt was answered meanwhile.
    """

    call_id: str
    service: str
    number: int
    token: int
    health: str
    probe: bool
    over: bool
    maybe_sent: bool
    limited: bool = False
    unused: bool = False


@dataclass(slots=True)
class _Untold:
    ends: list[End] = field(default_factory=list)
    trips: list[tuple[str, str]] = field(default_factory=list)
    blocks: list[tuple[str, float]] = field(default_factory=list)
    adaptive: dict[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.ends or self.trips or self.blocks or self.adaptive)

    @property
    def services(self) -> set[str]:
        return {
            *(end.service for end in self.ends),
            *(name for name, _ in self.trips),
            *(name for name, _ in self.blocks),
            *self.adaptive,
        }


class Reports:
    """One worker's reports, until they are told. True while there are any.

    Args:
        policies: of the services.
        worker: this worker's name.
    """

    def __init__(self, policies: Mapping[str, Policy], *, worker: str) -> None:
        self._worker = worker
        self._terms = {
            name: {"reset_s": policy.breaker.reset_timeout, "threshold": policy.breaker.success_threshold}
            for name, policy in policies.items()
        }
        self._untold = _Untold()
        self._taken = _Untold()

    def __bool__(self) -> bool:
        return bool(self._untold)

    def end(self, end: End) -> None:
        """An attempt, or a call, is over."""
        if len(self._untold.ends) < _KEPT:
            self._untold.ends.append(end)

    def trip(self, service: str, reason: str) -> None:
        """This worker's breaker opened."""
        if not self.has_trip(service):
            self._untold.trips.append((service, reason))

    def has_trip(self, service: str) -> bool:
        """Whether a trip of this service is not told yet, or on its way."""
        return any(name == service for name, _ in (*self._untold.trips, *self._taken.trips))

    def block(self, service: str, retry_after_s: float | None) -> None:
        """The service said that it is asked too often."""
        if len(self._untold.blocks) < _MOST:
            self._untold.blocks.append((service, -1.0 if retry_after_s is None else retry_after_s))

    def concurrency(self, service: str, found: float) -> None:
        """The concurrency that this worker found right."""
        self._untold.adaptive[service] = found

    def told(self) -> None:
        """What was taken has arrived."""
        self._taken = _Untold()

    def put_back(self) -> None:
        """What was taken has not arrived, as far as is known. All of it may be told twice."""
        taken, self._taken, newer = self._taken, _Untold(), self._untold
        self._untold = _Untold(
            ends=[*taken.ends, *newer.ends][:_KEPT],
            trips=[*taken.trips, *newer.trips],
            blocks=[*taken.blocks, *newer.blocks],
            adaptive=taken.adaptive | newer.adaptive,
        )

    def take(self) -> bytes:
        """The script's argument: what is told now, a bounded number of ends; `told` or `put_back` follows."""
        told, self._untold = self._untold, _Untold()
        told.ends, self._untold.ends = told.ends[:_MOST], told.ends[_MOST:]
        self._taken = told
        request: dict[str, Any] = {
            "now": 0,
            "worker": self._worker,
            "services": {name: self._terms[name] for name in told.services},
            "ends": told.ends,
            "trips": told.trips,
            "blocks": told.blocks,
            "adaptive": list(told.adaptive.items()),
        }
        return msgspec.json.encode(request)
