"""A call's way through the worker, on one screen: decode → catalogue → layers → transport → outcome."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gateway import message_headers
from gateway.call import GrpcCall
from gateway.catalogue import Catalogue
from gateway.clock import FleetClock
from gateway.dead_letter import Reason
from gateway.errors import Delivery, ServiceError
from gateway.outcome import Failure
from gateway.redis_client import ERRORS, open_async
from gateway.reply import Reply
from gateway.routing import correlation_id_of
from workers.attempt import Answer
from workers.callers import Callers
from workers.conclusion import cancellation, conclude, error_of, make_reply
from workers.connections import Connections
from workers.dead import DeadLetterOffice
from workers.exchange import Exchange
from workers.execution import Execution, Hold, Result
from workers.fleet.fleet import SharedFleet
from workers.fleet.learn_time import learn_time
from workers.fleet.parking import ParkingLot
from workers.observation import CallDropped, CallEnded, CallLeft, CallParked, CallRefused, CallTaken, Event, Stream
from workers.observation.call_log import CallLog
from workers.observation.observers import Observation
from workers.outcomes import Dropped, Parked, Refused
from workers.parker import Parker
from workers.reception import Reception, whole
from workers.rejections import Rejections
from workers.resilience.admit import admit, deadline
from workers.resilience.compose import compose
from workers.resilience.hedge import hedge
from workers.resilience.idempotency import asks_method, is_idempotent
from workers.resilience.repeat import repeat
from workers.resilience.timeouts import attempt
from workers.signed_once import SignedOnce
from workers.transports.base import Usage
from workers.verdict import Elsewhere

__all__ = ["LAYERS", "Executor"]

_CANCELLED_KEPT = 1000

#: Seconds for a question about a call that is not the call.
_ASKING_S = 2.0
#: How long a call waits here at a time, while Redis is away and it cannot be parked.
_AWAY_S = 0.5
#: The order in which a call is bounded, outermost first. Whatever refuses, repeats or limits a call stands here.
LAYERS = (deadline, repeat, hedge, admit, attempt)


class Executor:
    """Executes calls on one event loop.

    Args:
        catalogue: the services, with every variable resolved.
        environ: where the secrets are.
        result_url: the Redis that holds results and state.
        result_prefix: of the keys of results there.
        worker: this worker's name.
        clock: learns the time of that Redis; made if absent.
        observation: who is told what happens to calls; the log alone if absent.

    Attributes:
        observation, stream: the same, and that they are told by.

    Raises:
        SecretError, KeyProblem, InterceptorError: what the catalogue names cannot be had.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        environ: Mapping[str, str],
        *,
        result_url: str,
        result_prefix: str,
        worker: str,
        clock: FleetClock | None = None,
        observation: Observation | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._result_url = result_url
        self._result_prefix = result_prefix
        self._worker = worker
        self._exchange = Exchange(catalogue, environ)
        self._run = compose(LAYERS, self._exchange)
        self._clock = clock or FleetClock()
        self.observation = observation or Observation(Stream([CallLog()]))
        self.stream = self.observation.stream
        self._callers = Callers(catalogue, environ, self._clock)
        self._reception = Reception(catalogue, self._callers, self._clock, self.stream, worker=worker)
        self._once: SignedOnce | None = None
        self._rejections: Rejections | None = None
        self._client: Any = None
        self._fleet: SharedFleet | None = None
        self._parker: Parker | None = None
        self._dead: DeadLetterOffice | None = None
        self._looking: asyncio.Task[None] | None = None
        self._is_silent = False
        #: Calls that were cancelled, with their errors, until somebody asks what they ended with.
        self._cancelled: dict[str, CallEnded] = {}
        #: Calls that have their outcome, and keep their lease until it is stored.
        self._unstored: dict[str, Execution] = {}

    def check(self) -> None:
        """Look at all that a call will need and that can be had without the network, and warn of what has no effect.

        Raises:
            ValueError: what is wrong, and the cure.
        """
        Connections(self._catalogue)
        self._callers.say()

    async def start(self) -> None:
        """Get ready, on the loop that will execute the calls."""
        self._client = open_async(self._result_url)
        await learn_time(self._client, self._clock)
        self._fleet = SharedFleet(
            self._client,
            self._catalogue.services,
            worker=self._worker,
            results=self._result_prefix,
            clock=self._clock,
            stream=self.stream,
        )
        self._parker = Parker(ParkingLot(self._client), self._clock)
        self._dead = DeadLetterOffice(self._client, self.stream)
        self._once = SignedOnce(self._client)
        self._rejections = Rejections(self._client)
        self._exchange.start()
        if self.observation.history is not None:
            self.observation.history.start(self._client)

    async def close(self) -> None:
        """Tell the fleet what is left to tell, and close all connections."""
        await self._exchange.close()
        if self._parker is not None:
            await self._parker.close()
        if self._dead is not None:
            await self._dead.close()
        if self._rejections is not None:
            await self._rejections.close()
        if self._fleet is not None:
            await self._fleet.close()
        await self.observation.close()
        if self._client is not None:
            await self._client.aclose()

    async def perform(
        self,
        call_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        headers: Mapping[str, Any],
        message: Callable[[], bytes],
        embed: Mapping[str, Any] | None = None,
    ) -> Reply | ServiceError | Parked | Dropped | Refused:
        """Execute one message. Raises nothing but `asyncio.CancelledError`: an error is returned."""
        assert self._fleet is not None and self._dead is not None  # noqa: S101,PT018 - started before the first call
        assert self._rejections is not None  # noqa: S101 - as these
        verified = False
        try:
            claims = self._reception.verify(call_id, args, kwargs, embed or {})
            verified = True
            execution = self._reception.accept(
                call_id, args, kwargs, headers, claims, fleet=self._fleet, idempotent=self._is_idempotent
            )
        except ServiceError as refused:
            known = {"call_id": call_id, "correlation_id": correlation_id_of(kwargs)}
            if whole(headers.get(message_headers.MAYBE)):
                known["delivery"] = Delivery.MAYBE_SENT
            error = type(refused)(refused.message, {**refused.fields, **known})
            await self._dead.keep_refused(call_id, error, kwargs, message)
            self._rejections.count(error)
            self.stream.tell(CallRefused.of(call_id, error, args, kwargs))
            return Refused(error, verified)
        self.stream.tell(CallTaken(execution))
        try:
            return await self._perform(execution, message)
        finally:
            self.stream.tell(CallLeft(execution))

    async def _perform(
        self, execution: Execution, message: Callable[[], bytes]
    ) -> Reply | ServiceError | Parked | Dropped:
        assert self._fleet is not None and self._rejections is not None  # noqa: S101,PT018 - as in `perform`
        try:
            outcome = await self._outcome(execution, message)
        except asyncio.CancelledError:
            # Fetched by `cancelled` at once, but for a hard time limit.
            while len(self._cancelled) >= _CANCELLED_KEPT:
                del self._cancelled[next(iter(self._cancelled))]
            error = error_of(execution, cancellation(execution.delivery))
            self._cancelled[execution.call_id] = CallEnded(execution, error)
            acted = execution.overall(Delivery.NOT_SENT) is not Delivery.NOT_SENT
            self._fleet.give_back(execution, acted=acted)
            raise
        if self._fleet.is_lost(execution):
            # Whoever has it now tells what became of it; two outcomes of one call would be worse than the other one.
            outcome = Dropped("another worker took it over")
        if isinstance(outcome, Parked | Dropped):
            self._fleet.let_go(execution)
            self.stream.tell(
                CallParked(execution, outcome.why, outcome.until)
                if isinstance(outcome, Parked)
                else CallDropped(execution, outcome.why)
            )
            return outcome
        self._unstored[execution.call_id] = execution
        ended = error_of(execution, outcome) if isinstance(outcome, Failure) else outcome
        if isinstance(ended, ServiceError):
            self._rejections.count(ended)
        self.stream.tell(CallEnded(execution, ended))
        return ended

    def cancelled(self, call_id: str) -> ServiceError:
        """What a call ended with whose `perform` was cancelled, or never begun."""
        known = self._cancelled.pop(call_id, None)
        if known is None:
            error = cancellation(Delivery.NOT_SENT).to_error(call_id=call_id)
            self.stream.tell(CallRefused(call_id, error))
            return error
        self.stream.tell(known)
        assert isinstance(known.outcome, ServiceError)  # noqa: S101 - as it was made
        return known.outcome

    def verifies(self, call_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], embed: Mapping[str, Any]) -> bool:
        """Whether a caller that the gateway knows wrote this message, or nobody has to sign. On any thread."""
        try:
            self._reception.verify(call_id, args, kwargs, embed)
        except ServiceError:
            return False
        return True

    def observe(self, event: Event) -> None:
        """Tell the stream of what happened to a message on its way here. On the loop."""
        self.stream.tell(event)

    @property
    def is_away(self) -> bool:
        """Whether the Redis of results and state did not answer a moment ago. On any thread."""
        return self._is_silent or (self._fleet is not None and self._fleet.is_away)

    def look_at_store(self) -> None:
        """Ask it, unless that is under way; `is_away` tells. On the loop."""
        if self._looking is None and self._client is not None:
            self._looking = asyncio.get_running_loop().create_task(self._look_at_store())

    async def _look_at_store(self) -> None:
        try:
            async with asyncio.timeout(_ASKING_S):
                await self._client.ping()
        except ERRORS:  # TimeoutError is an OSError
            self._is_silent = True
        else:
            self._is_silent = False
        finally:
            self._looking = None

    def usage(self) -> Mapping[tuple[str, str], Usage]:
        """Connections and places, by service and protocol. On any thread."""
        return self._exchange.usage()

    def stored(self, call_id: str) -> None:
        """Its outcome is stored, or given up: the lease may end. On any thread."""
        execution = self._unstored.pop(call_id, None)
        if execution is not None and self._fleet is not None:
            self._fleet.let_go(execution)

    async def _outcome(self, execution: Execution, message: Callable[[], bytes]) -> Reply | Failure | Parked | Dropped:
        assert self._parker is not None and self._once is not None  # noqa: S101,PT018 - started before the first call
        result: Result | Parked
        if execution.not_before > self._clock.now() and execution.left_s > 0:
            result = await self._parker.defer(execution, message)
        else:
            result = await self._once.refuse(execution) or await self._run_here(execution)
        if isinstance(result, Hold):
            result = await self._parker.park(execution, result, message)
        if isinstance(result, Elsewhere):
            result = await self._parker.postpone(execution, result, message)
        if isinstance(result, Answer):
            return make_reply(execution, result)
        if isinstance(result, Failure):
            return await self._bury(execution, await conclude(execution, result), message)
        assert isinstance(result, Parked | Dropped)  # noqa: S101 - nothing else is left
        return result

    async def _bury(self, execution: Execution, failure: Failure, message: Callable[[], bytes]) -> Failure:
        """Keep a call that failed for good, before its outcome is known to anybody."""
        assert self._fleet is not None and self._dead is not None  # noqa: S101,PT018 - started before the first call
        if not self._fleet.is_lost(execution):
            reason = Reason.POISONOUS if execution.progress.deaths else Reason.FAILED
            await self._dead.keep_call(execution, failure, message, reason=reason)
        return failure

    async def _run_here(self, execution: Execution) -> Result:
        """Run the call through the layers. While nobody can park it, it waits here, in a place of this worker."""
        assert self._fleet is not None  # noqa: S101 - started before the first call
        while True:
            result = await self._run(execution)
            if not isinstance(result, Hold) or not self._fleet.is_away:
                return result
            wait_s = _AWAY_S if result.due_s is None else max(_AWAY_S, result.due_s)
            if wait_s >= execution.left_s:
                return result.otherwise
            await asyncio.sleep(wait_s)
            # As while it is parked: `timeouts.total` is for the service.
            execution.started += wait_s
            execution.accepted_at += wait_s

    async def _is_idempotent(self, execution: Execution) -> bool:
        """Whether the call may be repeated. A service with reflection may have to be asked."""
        call, key = execution.sent_call or execution.call, execution.envelope.idempotency_key
        declared = execution.service.idempotent(call)
        method_says = None
        if asks_method(call, key=key, declared=declared) and isinstance(call, GrpcCall):
            with suppress(TimeoutError):
                async with asyncio.timeout(_ASKING_S):
                    method_says = await self._exchange.method_says(execution, call, _ASKING_S)
        return is_idempotent(call, key=key, declared=declared, method_says=method_says)
