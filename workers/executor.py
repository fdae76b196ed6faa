"""A call's way through the worker, on one screen: decode → catalogue → layers → transport → outcome."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Any
from uuid import UUID, uuid4, uuid5

from gateway.call import GrpcCall, protocol_of
from gateway.catalogue import Catalogue
from gateway.clock import FleetClock
from gateway.codec import decode
from gateway.errors import Delivery, ServiceError
from gateway.outcome import Failure
from gateway.redis_client import open_async
from gateway.reply import Reply
from gateway.routing import correlation_id_of
from gateway.trace import trace_headers
from workers.attempt import Answer, Attempt
from workers.auth import make_scheme
from workers.conclusion import cancellation, conclude, error_of, log_end, make_reply
from workers.connections import Connections
from workers.deadline import Deadline
from workers.execution import Execution, Hold, Progress, Result
from workers.fleet.fleet import SharedFleet
from workers.fleet.parking import ParkingLot
from workers.interceptor import Interception
from workers.outcomes import Dropped, Parked
from workers.parker import Parker
from workers.resilience.admit import admit, deadline
from workers.resilience.compose import compose
from workers.resilience.hedge import hedge
from workers.resilience.idempotency import asks_method, is_idempotent
from workers.resilience.repeat import repeat
from workers.resilience.timeouts import attempt
from workers.verdict import Elsewhere

__all__ = ["LAYERS", "Executor"]

_log = logging.getLogger("gateway.calls")

_CANCELLED_KEPT = 1000

#: Seconds for a question about a call that is not the call.
_ASKING_S = 2.0
#: How long a call waits here at a time, while Redis is away and it cannot be parked.
_AWAY_S = 0.5
#: More than any call can be parked; a larger number was made up.
_MOST_PARKS = 1_000_000
#: Of the ids that a message lacks.
_MADE = UUID("6f0f4a3e-5d5c-4c8a-9a43-2f6c1d1b7e55")

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

    Raises:
        SecretError, InterceptorError: what the catalogue names cannot be had.
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
    ) -> None:
        self._catalogue = catalogue
        self._result_url = result_url
        self._result_prefix = result_prefix
        self._worker = worker
        self._schemes = {
            name: make_scheme(service.auth, environ)
            for name, service in catalogue.services.items()
            if service.auth is not None
        }
        self._interceptions = {
            name: Interception(name, service.interceptors) for name, service in catalogue.services.items()
        }
        self._run = compose(LAYERS, self._exchange)
        self._clock = clock or FleetClock()
        self._client: Any = None
        self._fleet: SharedFleet | None = None
        self._parker: Parker | None = None
        self._connections: Connections | None = None
        self._cancelled: dict[str, ServiceError] = {}
        #: Together they name each execution of a call, among those of all workers.
        self._name, self._executions = uuid4().hex, count()

    def check(self) -> None:
        """Look at all that a call will need and that can be had without the network, and warn of what has no effect.

        Raises:
            ValueError: what is wrong, and the cure.
        """
        Connections(self._catalogue)
        for key in self._catalogue.not_acted_on:
            _log.warning("%s is in the catalogue, and this version does not act on it", key)

    async def start(self) -> None:
        """Get ready, on the loop that will execute the calls."""
        self._client = open_async(self._result_url)
        await _tell_time(self._client, self._clock)
        self._fleet = SharedFleet(
            self._client,
            self._catalogue.services,
            worker=self._worker,
            results=self._result_prefix,
            clock=self._clock,
        )
        self._parker = Parker(ParkingLot(self._client), self._clock)
        self._connections = Connections(self._catalogue)

    async def close(self) -> None:
        """Tell the fleet what is left to tell, and close all connections."""
        if self._connections is not None:
            await self._connections.close()
        if self._parker is not None:
            await self._parker.close()
        if self._fleet is not None:
            await self._fleet.close()
        if self._client is not None:
            await self._client.aclose()

    async def perform(
        self,
        call_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        headers: Mapping[str, Any],
        message: Callable[[], bytes],
    ) -> Reply | ServiceError | Parked | Dropped:
        """Execute one message. Raises nothing but `asyncio.CancelledError`: an error is returned."""
        try:
            execution = self._accept(call_id, args, kwargs, headers)
        except ServiceError as refused:
            known = {"call_id": call_id, "correlation_id": correlation_id_of(kwargs)}
            if _whole(headers.get("gateway_maybe")):
                known["delivery"] = Delivery.MAYBE_SENT
            return log_end(type(refused)(refused.message, {**refused.fields, **known}))
        assert self._fleet is not None  # noqa: S101 - started before the first call
        try:
            outcome = await self._outcome(execution, message)
        except asyncio.CancelledError:
            # Fetched by `cancelled` at once, but for a hard time limit.
            while len(self._cancelled) >= _CANCELLED_KEPT:
                del self._cancelled[next(iter(self._cancelled))]
            self._cancelled[call_id] = error_of(execution, cancellation(execution.delivery))
            acted = execution.overall(Delivery.NOT_SENT) is not Delivery.NOT_SENT
            self._fleet.give_back(execution, acted=acted)
            raise
        finally:
            lost = self._fleet.is_lost(execution)
            self._fleet.let_go(execution)
        if lost:
            # Whoever has it now tells what became of it; two outcomes of one call would be worse than the other one.
            outcome = Dropped("another worker took it over")
        return log_end(error_of(execution, outcome) if isinstance(outcome, Failure) else outcome, call_id)

    def cancelled(self, call_id: str) -> ServiceError:
        """What a call ended with whose `perform` was cancelled, or never begun."""
        known = self._cancelled.pop(call_id, None)
        if known is None:
            known = cancellation(Delivery.NOT_SENT).to_error(call_id=call_id)
        return log_end(known)

    async def _outcome(self, execution: Execution, message: Callable[[], bytes]) -> Reply | Failure | Parked | Dropped:
        assert self._parker is not None  # noqa: S101 - started before the first call
        result: Result | Parked = await self._run_here(execution)
        if isinstance(result, Hold):
            result = await self._parker.park(execution, result, message)
        if isinstance(result, Elsewhere):
            result = await self._parker.postpone(execution, result, message)
        if isinstance(result, Answer):
            return make_reply(execution, result)
        if isinstance(result, Failure):
            return await conclude(execution, result)
        assert isinstance(result, Parked | Dropped)  # noqa: S101 - nothing else is left
        return result

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

    def _accept(
        self, call_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], headers: Mapping[str, Any]
    ) -> Execution:
        assert self._fleet is not None  # noqa: S101 - started before the first call
        envelope = decode(args, kwargs)
        service = self._catalogue.service_for(envelope.call)
        now, wall = monotonic(), self._clock.now()
        execution = Execution(
            call_id=call_id,
            envelope=envelope,
            service=service,
            policy=service.policy_for(envelope.call),
            deadline=Deadline.of(envelope, wall=wall, monotonic=now),
            # Made of the call's id, so that they are the same after it was parked.
            correlation_id=envelope.correlation_id or uuid5(_MADE, f"correlation {call_id}").hex,
            request_id=envelope.request_id or uuid5(_MADE, f"request {call_id}").hex,
            started=now,
            accepted_at=wall,
            fleet=self._fleet,
            idempotent=lambda: self._is_idempotent(execution),
            progress=Progress(owner=f"{self._name}.{next(self._executions)}"),
        )
        progress = execution.progress
        progress.parks = _whole(headers.get("gateway_parks"))
        progress.maybe_sent = _whole(headers.get("gateway_maybe")) > 0
        info = headers.get("delivery_info")
        progress.redelivered = isinstance(info, Mapping) and bool(info.get("redelivered"))
        return execution

    async def _is_idempotent(self, execution: Execution) -> bool:
        """Whether the call may be repeated. A service with reflection may have to be asked."""
        assert self._connections is not None  # noqa: S101 - started before the first call
        call, key = execution.sent_call or execution.call, execution.envelope.idempotency_key
        declared = execution.service.idempotent(call)
        method_says = None
        if asks_method(call, key=key, declared=declared) and isinstance(call, GrpcCall):
            with suppress(TimeoutError):
                async with asyncio.timeout(_ASKING_S):
                    method_says = await self._connections.method_says(execution.service, call, self._headers(execution))
        return is_idempotent(call, key=key, declared=declared, method_says=method_says)

    async def _exchange(self, execution: Execution) -> Result:
        """The core that all layers stand around: one attempt on the wire."""
        assert self._connections is not None  # noqa: S101 - started before the first call
        made = Attempt(
            call=execution.call,
            number=execution.number,
            headers=self._headers(execution),
            timeouts=execution.policy.timeouts,
            budget_s=execution.budget_s,
            max_reply_bytes=execution.policy.reply.max_bytes,
            max_messages=execution.policy.reply.max_messages,
            wire=execution.wire,
        )
        interception = self._interceptions[execution.service.name]
        if interception:
            intercepted = await interception.before(made)
            if isinstance(intercepted, Failure):
                return intercepted
            made = intercepted
            execution.sent_call = made.call
        transport = self._connections.to(execution.service, protocol_of(made.call))
        execution.result = result = await transport.send(made)
        return await interception.after(made, result) if interception else result

    def _headers(self, execution: Execution) -> dict[str, str]:
        envelope = execution.envelope
        headers = {
            "x-correlation-id": execution.correlation_id,
            "x-request-id": execution.attempt_request_id,
        }
        if envelope.idempotency_key is not None:
            headers["idempotency-key"] = envelope.idempotency_key
        headers.update(trace_headers(envelope.traceparent, envelope.tracestate))
        scheme = self._schemes.get(execution.service.name)
        if scheme is not None:
            headers.update(scheme.headers())
        return headers


def _whole(header: object) -> int:
    """A small count from a message, whoever wrote it."""
    return header if type(header) is int and 0 <= header < _MOST_PARKS else 0


async def _tell_time(client: Any, clock: FleetClock) -> None:
    """Learn what time it is, before the first deadline is read. Later answers tell it along."""
    asked_at = clock.monotonic()
    try:
        async with asyncio.timeout(_ASKING_S):
            seconds, microseconds = await client.time()
    except Exception as error:  # it goes on without, whatever it is
        _log.warning(
            "the fleet's Redis does not answer (%s); deadlines are read by this host's clock", type(error).__name__
        )
    else:
        clock.observe(seconds + microseconds / 1e6, asked_at, clock.monotonic())
