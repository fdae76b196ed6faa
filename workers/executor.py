"""A call's way through the worker, on one screen: decode → catalogue → admission → layers → transport → outcome."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from gateway.call import protocol_of
from gateway.catalogue import Catalogue
from gateway.codec import decode
from gateway.errors import CallCancelledError, Delivery, ServiceError
from gateway.outcome import Failure
from gateway.reply import Reply, Timing
from gateway.routing import correlation_id_of
from gateway.trace import trace_headers
from workers.admission import Admission
from workers.attempt import Answer, Attempt
from workers.auth import make_scheme
from workers.connections import Connections
from workers.deadline import Deadline
from workers.execution import Execution, Result
from workers.interceptor import Interception
from workers.resilience import timeouts
from workers.resilience.compose import compose

__all__ = ["LAYERS", "Executor"]

_log = logging.getLogger("gateway.calls")

Outcome = TypeVar("Outcome", Reply, ServiceError)

_CANCELLED_KEPT = 1000

#: The order in which a call is bounded, outermost first. Whatever refuses, repeats or limits a call stands here.
LAYERS = (timeouts.deadline, timeouts.total, timeouts.attempt)


class Executor:
    """Executes calls on one event loop.

    Args:
        catalogue: the services, with every variable resolved.
        environ: where the secrets are.
        result_url: the Redis that holds results and state.
        worker: this worker's name.

    Raises:
        SecretError, InterceptorError: what the catalogue names cannot be had.
    """

    def __init__(self, catalogue: Catalogue, environ: Mapping[str, str], *, result_url: str, worker: str) -> None:
        self._catalogue = catalogue
        self._result_url = result_url
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
        self._admission: Admission | None = None
        self._connections: Connections | None = None
        self._cancelled: dict[str, ServiceError] = {}

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
        self._admission = Admission(self._result_url, self._worker)
        self._connections = Connections(self._catalogue)

    async def close(self) -> None:
        """Close all connections."""
        if self._connections is not None:
            await self._connections.close()
        if self._admission is not None:
            await self._admission.close()

    async def perform(
        self, call_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], headers: Mapping[str, Any]
    ) -> Reply | ServiceError:
        """Execute one message. Raises nothing but `asyncio.CancelledError`: an error is returned."""
        try:
            execution = self._accept(call_id, args, kwargs)
        except ServiceError as refused:
            known = {"call_id": call_id, "correlation_id": correlation_id_of(kwargs)}
            return _log_end(type(refused)(refused.message, {**refused.fields, **known}))
        try:
            result = await self._admit_and_run(execution)
        except asyncio.CancelledError:
            # Fetched by `cancelled` at once, but for a hard time limit.
            while len(self._cancelled) >= _CANCELLED_KEPT:
                del self._cancelled[next(iter(self._cancelled))]
            self._cancelled[call_id] = self._error(execution, _cancelled(execution.delivery))
            raise
        if isinstance(result, Failure):
            return _log_end(self._error(execution, result))
        return _log_end(_reply(execution, result))

    def cancelled(self, call_id: str) -> ServiceError:
        """What a call ended with whose `perform` was cancelled, or never begun."""
        known = self._cancelled.pop(call_id, None)
        if known is None:
            known = _cancelled(Delivery.NOT_SENT).to_error(call_id=call_id)
        return _log_end(known)

    async def _admit_and_run(self, execution: Execution) -> Result:
        assert self._admission is not None  # noqa: S101 - started before the first call
        left = execution.deadline.left(time.monotonic())
        if not await self._admission.begin(execution.call_id, time.time() + left):
            return _cancelled(Delivery.NOT_SENT)
        return await self._run(execution)

    def _accept(self, call_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Execution:
        envelope = decode(args, kwargs)
        service = self._catalogue.service_for(envelope.call)
        now = time.monotonic()
        return Execution(
            call_id=call_id,
            envelope=envelope,
            service=service,
            policy=service.policy_for(envelope.call),
            deadline=Deadline.of(envelope, wall=time.time(), monotonic=now),
            correlation_id=envelope.correlation_id or uuid4().hex,
            request_id=envelope.request_id or uuid4().hex,
            started=now,
        )

    async def _exchange(self, execution: Execution) -> Result:
        """The core that all layers stand around: one attempt on the wire."""
        assert self._connections is not None  # noqa: S101 - started before the first call
        attempt = Attempt(
            call=execution.call,
            number=execution.attempts,
            headers=self._headers(execution),
            timeouts=execution.policy.timeouts,
            budget_s=execution.budget_s,
            max_reply_bytes=execution.policy.reply.max_bytes,
            max_messages=execution.policy.reply.max_messages,
            wire=execution.wire,
        )
        interception = self._interceptions[execution.service.name]
        if interception:
            intercepted = await interception.before(attempt)
            if isinstance(intercepted, Failure):
                return intercepted
            attempt = intercepted
        transport = self._connections.to(execution.service, protocol_of(attempt.call))
        execution.result = result = await transport.send(attempt)
        return await interception.after(attempt, result) if interception else result

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

    def _error(self, execution: Execution, failure: Failure) -> ServiceError:
        return failure.to_error(
            service=execution.service.name,
            operation=execution.call.operation,
            attempts=execution.attempts,
            correlation_id=execution.correlation_id,
            request_id=execution.attempt_request_id,
            call_id=execution.call_id,
        )


def _cancelled(delivery: Delivery) -> Failure:
    told = {
        Delivery.NOT_SENT: "it was cancelled before it was sent",
        Delivery.MAYBE_SENT: "it was cancelled while the service had it",
        Delivery.ANSWERED: "it was cancelled when the service had answered",
    }
    return Failure(error=CallCancelledError, message=told[delivery], delivery=delivery)


def _reply(execution: Execution, answer: Answer) -> Reply:
    return Reply(
        data=answer.data,
        status=answer.status,
        headers=answer.headers,
        attempts=execution.attempts,
        timing=_timing(execution),
        correlation_id=execution.correlation_id,
        request_id=execution.attempt_request_id,
        service=execution.service.name,
        operation=execution.call.operation,
        protocol=protocol_of(execution.call),
        call_id=execution.call_id,
    )


def _timing(execution: Execution) -> Timing:
    wire = execution.wire
    sent_at = execution.envelope.sent_at
    return Timing(
        queued=None if sent_at is None else max(0.0, time.time() - (time.monotonic() - execution.started) - sent_at),
        pool_wait=_between(wire.started, wire.pool_acquired),
        connect=_between(wire.connect_started, wire.connected),
        first_byte=_between(wire.sent, wire.first_byte),
        total=time.monotonic() - execution.started,
    )


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else max(0.0, end - start)


def _log_end(outcome: Outcome) -> Outcome:
    """One line for each call, without its payload."""
    if isinstance(outcome, Reply):
        _log.info("reply %s call_id=%s request_id=%s", outcome.summary(), outcome.call_id, outcome.request_id)
    else:
        _log.info("error %r call_id=%s request_id=%s", outcome, outcome.call_id, outcome.request_id)
    return outcome
