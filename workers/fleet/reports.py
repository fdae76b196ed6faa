"""What became of attempts, told to the fleet off their way: no call waits for it."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.policy import Policy
from workers.fleet.script import Script
from workers.resilience.breaker import Phase

__all__ = ["End", "Reports"]

_log = logging.getLogger("gateway.reports")

_PATIENCE_S = 2.0
#: Reports that are kept while Redis is away. Older ones are forgotten: leases and places expire by themselves.
_KEPT = 10_000
_MOST = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """An attempt that is over, or a call.

    Attributes:
        call_id, service: which call.
        number: of the attempt; 0 where a call ends without one.
        token: of the call's lease.
        health: `good`, `bad` or `neutral`, of the service.
        probe: it was let through a half-open breaker.
        over: this worker is done with the call.
        maybe_sent: the service may have acted.
    """

    call_id: str
    service: str
    number: int
    token: int
    health: str
    probe: bool
    over: bool
    maybe_sent: bool


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
    """Tells them in batches. Belongs to one event loop.

    Args:
        client: of the Redis that holds the fleet's state.
        policies: of the services.
        worker: this worker's name.
        phases: takes what the answers say about breakers.
    """

    def __init__(
        self, client: Any, policies: Mapping[str, Policy], *, worker: str, phases: dict[str, tuple[Phase, float]]
    ) -> None:
        self._client = client
        self._worker = worker
        self._phases = phases
        self._script = Script("report.lua")
        self._terms = {
            name: {"reset_s": policy.breaker.reset_timeout, "threshold": policy.breaker.success_threshold}
            for name, policy in policies.items()
        }
        self._untold = _Untold()
        self._task: asyncio.Task[None] | None = None

    def end(self, end: End) -> None:
        """An attempt, or a call, is over."""
        if len(self._untold.ends) < _KEPT:
            self._untold.ends.append(end)
        self._start()

    def trip(self, service: str, reason: str) -> None:
        """This worker's breaker opened."""
        self._untold.trips.append((service, reason))
        self._start()

    def block(self, service: str, retry_after_s: float | None) -> None:
        """The service said that it is asked too often."""
        self._untold.blocks.append((service, -1.0 if retry_after_s is None else retry_after_s))
        self._start()

    def concurrency(self, service: str, found: float) -> None:
        """The concurrency that this worker found right."""
        self._untold.adaptive[service] = found
        self._start()

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._untold:
                told, self._untold = self._untold, _Untold()
                if len(told.ends) > _MOST:
                    told.ends, self._untold.ends = told.ends[:_MOST], told.ends[_MOST:]
                try:
                    await self._tell(told)
                except Exception as error:  # of the store, or a defect: calls go on
                    _log.warning("the fleet's state cannot be told (%s); it goes on without", type(error).__name__)
        finally:
            self._task = None

    async def _tell(self, told: _Untold) -> None:
        request = {
            "now": 0,
            "worker": self._worker,
            "services": {name: self._terms[name] for name in told.services},
            "ends": [
                (
                    end.call_id,
                    end.service,
                    end.number,
                    end.token,
                    end.health,
                    1 if end.probe else 0,
                    1 if end.over else 0,
                    1 if end.maybe_sent else 0,
                )
                for end in told.ends
            ],
            "trips": told.trips,
            "blocks": told.blocks,
            "adaptive": list(told.adaptive.items()),
        }
        async with asyncio.timeout(_PATIENCE_S):
            raw = await self._script.run(self._client, msgspec.json.encode(request))
        breakers = msgspec.json.decode(raw)["breakers"]
        if breakers:
            for name, (phase, until) in breakers.items():
                self._phases[name] = (phase, float(until))

    async def settle(self) -> None:
        """Wait until all is told."""
        while self._task is not None:
            await asyncio.wait([self._task])
