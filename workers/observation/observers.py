"""Who observes the calls of a worker."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from gateway.clock import FleetClock
from workers.observation.call_log import CallLog
from workers.observation.history import HistoryWriter
from workers.observation.metrics import Metrics
from workers.observation.stream import Stream
from workers.observation.tracing import Tracing

__all__ = ["Observation"]


@dataclass(frozen=True, slots=True)
class Observation:
    """Of one process.

    Attributes:
        stream: is told everything.
        metrics: what is counted; None: nobody will ask.
        history: is started and closed with the executor; None: it is off.
        traces: is closed with it; None: nobody takes any.
    """

    stream: Stream
    metrics: Metrics | None = None
    history: HistoryWriter | None = None
    traces: Tracing | None = None

    @classmethod
    def of(cls, services: Iterable[str], clock: FleetClock, *, counted: bool, kept: int, traced: bool) -> Self:
        """The log, and the others as far as they are wanted.

        Args:
            services: of the catalogue.
            clock: the fleet's time.
            counted: somebody may ask for metrics.
            kept: entries of the history; 0: none.
            traced: somebody takes traces.
        """
        metrics = Metrics(services) if counted else None
        history = HistoryWriter(kept, clock) if kept else None
        traces = Tracing.exporting() if traced else None
        return cls(Stream(filter(None, [CallLog(), traces, metrics, history])), metrics, history, traces)

    async def close(self) -> None:
        """Write and export what is left, for a few seconds at most."""
        if self.history is not None:
            await self.history.close()
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)
