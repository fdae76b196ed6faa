"""One worker's part of the fleet: it asks before each attempt, tells what became of it, and has a view of its own."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from gateway.clock import FleetClock
from gateway.errors import RateLimitedError, ServiceTimeoutError, ServiceUnavailableError
from gateway.outcome import Failure
from gateway.policy import Policy
from gateway.service import Service
from workers.attempt import Answer
from workers.execution import Execution
from workers.fleet.admission import LEASE_S, Admission
from workers.fleet.leases import Leases
from workers.fleet.line import AwayError, Line
from workers.fleet.own_view import OwnView
from workers.fleet.reports import End, Reports
from workers.observation import Stream
from workers.resilience.admit import PATIENCE_S
from workers.resilience.health import Health, health_of
from workers.resilience.latency import Latencies
from workers.verdict import Ask, Go, Late, Past, Poison, Verdict, Wait

__all__ = ["SharedFleet"]

_log = logging.getLogger("gateway.fleet")

#: Calls that wait in a worker for a place at one service. They take the next places; all further ones are parked at
#: once, so that a service that hangs does not fill its workers with calls that ask again and again.
_MOST_WAITING = 20
#: An attempt that says nothing for so long after its time is taken for dead, with its worker.
_DEAD_AFTER_S = 5.0


class SharedFleet:
    """What the layers ask and tell, see `workers.execution.Fleet`. Belongs to one event loop.

    While Redis is away each worker goes on with its own view: breakers, limits and budgets act on what it sees itself.

    Args:
        client: of the Redis that holds the fleet's state.
        services: of the catalogue.
        worker: this worker's name.
        results: prefix of the keys of results.
        clock: learns the time of that Redis.
        stream: is told what breakers do.
    """

    def __init__(
        self,
        client: Any,
        services: Mapping[str, Service],
        *,
        worker: str,
        results: str,
        clock: FleetClock,
        stream: Stream,
    ) -> None:
        policies: dict[str, Policy] = {name: service.policy for name, service in services.items()}
        self._clock = clock
        self._reports = Reports(policies, worker=worker)
        self._line = Line(client, Admission(policies, worker=worker, results=results), self._reports, clock)
        self._leases = Leases(client, lease_s=LEASE_S)
        self._views = {name: OwnView(name, policy, stream) for name, policy in policies.items()}
        self._latencies = Latencies()
        #: Who waits for a place at a service, first come first; a dict, since one that gives up leaves the middle.
        self._waiting: defaultdict[str, dict[asyncio.Future[None], None]] = defaultdict(dict)

    async def ask(self, execution: Execution) -> Verdict:
        """May the call's next attempt be sent?"""
        progress = execution.progress
        left = execution.left_s
        policy = execution.policy
        ask = Ask(
            call_id=execution.call_id,
            service=execution.service.name,
            number=progress.attempts + 1,
            token=progress.token,
            owner=progress.owner,
            parks=progress.parks,
            left_s=left,
            patience_s=min(PATIENCE_S, max(0.0, left)),
            hedge=execution.hedge,
            life_s=policy.timeouts.attempt + _DEAD_AFTER_S,
            recorded=progress.redelivered and progress.recorded,
            caller="" if execution.claims is None else execution.claims.iss,
        )
        verdict = await self._ask(ask, execution)
        if isinstance(verdict, Go | Wait | Late | Poison) and progress.token == 0 and verdict.token > 0:
            self._leases.hold(execution.call_id, verdict.token)
        return verdict

    async def _ask(self, ask: Ask, execution: Execution) -> Verdict:
        redelivered = execution.progress.redelivered
        view = self._views[ask.service]
        try:
            verdict = await self._line.ask(ask)
        except AwayError:
            pass
        else:
            if not self._reports.has_trip(ask.service):
                # An answer from before its own trip was told would close the breaker again.
                view.breaker.follow(*self._line.phases[ask.service])
            return verdict
        if ask.left_s <= 0:
            return Late(ask.token, ask.number, "", Past(interrupted=redelivered and ask.token == 0))
        if not await execution.idempotent():
            # Should this worker die with it, nothing would tell the next one that it may have been sent.
            return Wait(ask.token, ask.number, "store", None, past=Past(interrupted=redelivered and ask.token == 0))
        verdict = view.decide(ask, self._clock.now())
        if redelivered and ask.token == 0:
            # Nobody can say what became of it where it was before.
            verdict = msgspec.structs.replace(verdict, past=Past(interrupted=True))
        return verdict

    def began(self, execution: Execution) -> None:
        """An attempt is sent."""
        self._views[execution.service.name].in_flight += 1

    def ended(self, execution: Execution, go: Go, result: Answer | Failure | None, elapsed_s: float) -> None:
        """The attempt that `go` let through is over; None: it was cancelled, or never made."""
        name = execution.service.name
        view = self._views[name]
        view.in_flight -= 1
        now = self._clock.now()
        # An owner's interceptor may make of a result what it likes; the service's health is what the transport saw.
        seen = result if result is None or execution.result is None else execution.result
        # A probe that got no answer in its time has not shown that the service is well, however short that was.
        cut_short = isinstance(seen, Failure) and not go.permit.probe and execution.cut_short
        health = Health.NEUTRAL if seen is None else health_of(seen, cut_short=cut_short)
        self._learn(execution, view, seen, health, elapsed_s, now)
        reason = view.breaker.record(now, health, elapsed_s=elapsed_s, permit=go.permit)
        if reason is not None:
            _log.warning("%s is left alone: %s", name, reason)
            self._reports.trip(name, reason)
        self._reports.end(
            End(
                call_id=execution.call_id,
                service=name,
                number=go.number,
                token=go.token,
                health=health.name.lower(),
                probe=go.permit.probe,
                over=False,
                # An answer ends the call, and its outcome says the rest.
                maybe_sent=execution.progress.maybe_sent and not isinstance(result, Answer),
                limited=isinstance(seen, Failure) and issubclass(seen.error, RateLimitedError),
            )
        )
        self._line.tell()
        self._wake_one(name)

    def let_go(self, execution: Execution) -> None:
        """The call has left this worker, or its outcome is stored. Its lease is not renewed any more. On any thread."""
        self._leases.release(execution.call_id, execution.progress.token)

    def give_back(self, execution: Execution, *, acted: bool) -> None:
        """The call was cancelled, and its message may come again.

        Args:
            execution: the call.
            acted: the service may have acted on it.
        """
        token = execution.progress.token
        if token == 0:
            return
        self.let_go(execution)
        self._reports.end(
            End(
                call_id=execution.call_id,
                service=execution.service.name,
                number=0,
                token=token,
                health="neutral",
                probe=False,
                over=True,
                maybe_sent=acted,
            )
        )
        self._line.tell()

    def is_lost(self, execution: Execution) -> bool:
        """Whether another worker has taken the call over, and tells what became of it."""
        return self._leases.is_lost(execution.call_id, execution.progress.token)

    @property
    def is_away(self) -> bool:
        """Whether the fleet's Redis did not answer a moment ago."""
        return self._line.is_away

    def has_room(self, service: str) -> bool:
        """Whether one more call may wait in this worker for a place at a service."""
        return len(self._waiting[service]) < _MOST_WAITING

    async def freed(self, service: str, timeout_s: float) -> None:
        """Wait until an attempt of this worker at a service is over, or for `timeout_s`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting[service]
        waiting[turn] = None
        try:
            await asyncio.wait([turn], timeout=timeout_s)
        finally:
            waiting.pop(turn, None)

    def hedge_after_s(self, execution: Execution) -> float | None:
        """Seconds after which a second attempt may start beside the first; None: never."""
        hedge = execution.policy.hedge
        if hedge.percentile is None:
            return hedge.after
        return self._latencies.percentile(_operation(execution), hedge.percentile)

    async def close(self) -> None:
        """Tell what is left, and stop."""
        await self._leases.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self._line.settle()

    def _learn(
        self,
        execution: Execution,
        view: OwnView,
        result: Answer | Failure | None,
        health: Health,
        elapsed_s: float,
        now: float,
    ) -> None:
        if execution.policy.hedge.percentile is not None and (
            isinstance(result, Answer) or _was_cut_off(execution, result)
        ):
            self._latencies.record(_operation(execution), elapsed_s)
        if result is None:
            return
        if isinstance(result, Failure) and issubclass(result.error, RateLimitedError):
            view.penalty.learn(now, result.retry_after_s)
            self._reports.block(view.service, result.retry_after_s)
        elif health is Health.GOOD:
            view.penalty.forgive(now)
        if view.adaptive is not None and health is not Health.NEUTRAL:
            overloaded = isinstance(result, Failure) and issubclass(
                result.error, ServiceTimeoutError | ServiceUnavailableError
            )
            view.adaptive.sample(elapsed_s, execution.in_flight, not overloaded)
            current = self._line.concurrency.get(view.service, view.policy.limit.concurrency)
            found = view.adaptive.adjust(now, current)
            if found is not None:
                self._reports.concurrency(view.service, found)

    def _wake_one(self, service: str) -> None:
        waiting = self._waiting[service]
        if waiting:
            turn = next(iter(waiting))
            del waiting[turn]
            turn.set_result(None)

    def __repr__(self) -> str:
        return f"<SharedFleet {' '.join(map(repr, self._views.values()))}>"


def _was_cut_off(execution: Execution, result: Answer | Failure | None) -> bool:
    """Whether an attempt was cancelled while the service had it: it took longer than that, and a percentile must know.

    Without the losers of hedges it would be one of fast attempts alone, and there would be more and more hedges.
    """
    return result is None and execution.wire.sent is not None


def _operation(execution: Execution) -> str:
    return f"{execution.service.name} {execution.call.operation}"
