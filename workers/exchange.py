"""One attempt on the wire: what it is sent with, and what comes back. The core that all layers stand around."""

from collections.abc import Mapping
from dataclasses import replace
from time import monotonic

from gateway.auth_scheme import AuthScheme
from gateway.call import Call, GrpcCall, protocol_of
from gateway.catalogue import Catalogue
from gateway.errors import Delivery, InvalidCallError, ServiceAuthError
from gateway.outcome import Failure
from gateway.sealing import Unsealer
from gateway.service import Service
from gateway.trace import trace_headers
from workers.attempt import Answer, Attempt, Wire
from workers.auth import Asked, Credentials, Scheme, make_scheme
from workers.connections import Connections
from workers.execution import Execution
from workers.interceptor import Interception
from workers.on_behalf import on_behalf, parts_of
from workers.redacted import redacted
from workers.token_endpoint import TokenEndpoint
from workers.transports.base import Usage

__all__ = ["Exchange", "scheme_of"]

_NONE = Credentials({})
#: How a service says that it does not accept who asks, where other credentials might help. Not 403.
_REFUSED = (401, "UNAUTHENTICATED")


class Exchange:
    """Makes attempts. Belongs to one event loop.

    Args:
        catalogue: the services.
        environ: where the secrets are.

    Raises:
        SecretError, KeyProblem, InterceptorError: what the catalogue names cannot be had.
    """

    def __init__(self, catalogue: Catalogue, environ: Mapping[str, str]) -> None:
        self._tokens: list[TokenEndpoint] = []
        self._schemes: dict[str, Scheme] = {}
        for name, service in catalogue.services.items():
            if service.auth is not None:
                self._schemes[name], tokens = scheme_of(service, service.auth, environ)
                self._tokens += [] if tokens is None else [tokens]
        self._interceptions = {
            name: Interception(name, service.interceptors) for name, service in catalogue.services.items()
        }
        self._unsealer = Unsealer(catalogue.sealing.private, environ)
        self._catalogue = catalogue
        self._open: Connections | None = None

    def start(self) -> None:
        """Get ready, on the loop that makes the attempts."""
        self._open = Connections(self._catalogue)

    def usage(self) -> dict[tuple[str, str], Usage]:
        """Connections and places now, by service and protocol; empty before the start. On any thread."""
        return {} if self._open is None else self._open.usage()

    async def close(self) -> None:
        """Close all connections."""
        if self._open is not None:
            await self._open.close()
        for tokens in self._tokens:
            await tokens.close()

    async def __call__(self, execution: Execution) -> Answer | Failure:
        """Make one attempt; in it a second request, if the service did not accept credentials that can be renewed."""
        own = _own_headers(execution)
        scheme = self._schemes.get(execution.service.name)
        taken = own.keys() if scheme is None else own.keys() | scheme.names
        sealed = on_behalf(execution, self._unsealer, taken)
        if isinstance(sealed, Failure):
            return sealed
        if scheme is not None and (refused := _clashing(execution.call, scheme)):
            return refused
        secret = parts_of(sealed) if sealed else ()
        made = Attempt(
            call=execution.call,
            number=execution.number,
            headers=own,
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
                return redacted(intercepted, secret)
            made = intercepted
            execution.sent_call = made.call
        made = replace(made, headers={**sealed, **made.headers}) if sealed else made
        result = await self._send(execution, made, scheme, secret)
        return redacted(await interception.after(made, result), secret) if interception else result

    async def _send(
        self, execution: Execution, made: Attempt, scheme: Scheme | None, sealed: tuple[str, ...]
    ) -> Answer | Failure:
        """Show who asks, and ask."""
        began, asked = monotonic(), _asked(execution, made.call, made.budget_s)
        credentials = _NONE if scheme is None else await scheme.credentials(asked)
        if isinstance(credentials, Failure):
            return credentials
        result = await self._once(execution, made, credentials, sealed)
        if scheme is None or not _is_refusal(result) or not await scheme.refused(credentials, asked):
            return result
        left_s = made.budget_s - (monotonic() - began)
        fresh = await scheme.credentials(asked)
        if left_s <= 0 or isinstance(fresh, Failure):
            return result
        # It answered no: nothing of the first request counts any more, and the second one leaves marks of its own.
        execution.wire, execution.result = Wire(), None
        renewed = {**made.headers, "x-request-id": f"{made.headers['x-request-id']}-renewed"}
        again = replace(made, headers=renewed, budget_s=left_s, wire=execution.wire)
        return await self._once(execution, again, fresh, sealed)

    async def _once(
        self, execution: Execution, made: Attempt, credentials: Credentials, sealed: tuple[str, ...]
    ) -> Answer | Failure:
        assert self._open is not None  # noqa: S101 - started before the first call
        # After the interceptors: who asks is shown to the service alone, and nothing replaces it.
        shown = replace(made, headers={**made.headers, **credentials.headers}, sign=credentials.sign)
        transport = self._open.to(execution.service, protocol_of(made.call))
        result = redacted(await transport.send(shown), (*sealed, *credentials.own))
        execution.result = result
        return result

    async def method_says(self, execution: Execution, call: GrpcCall, timeout_s: float) -> bool | None:
        """What a gRPC method's description says about repeating it; None: nothing, or it cannot be asked now."""
        assert self._open is not None  # noqa: S101 - started before the first call
        headers = _own_headers(execution)
        if scheme := self._schemes.get(execution.service.name):
            credentials = await scheme.credentials(_asked(execution, call, timeout_s))
            if isinstance(credentials, Failure):
                return None
            headers |= credentials.headers
        return await self._open.method_says(execution.service, call, headers)


def scheme_of(service: Service, auth: AuthScheme, environ: Mapping[str, str]) -> tuple[Scheme, TokenEndpoint | None]:
    """How the gateway shows a service who it is, and where it gets its tokens, if it needs any.

    Raises:
        SecretError: a secret cannot be had.
    """
    tokens = None
    if auth.token_url:
        tokens = TokenEndpoint(service.name, auth.token_url, service.policy.timeouts, service.network)
    return make_scheme(auth, environ, service=service.name, post=None if tokens is None else tokens.post), tokens


def _own_headers(execution: Execution) -> dict[str, str]:
    envelope = execution.envelope
    headers = {"x-correlation-id": execution.correlation_id, "x-request-id": execution.attempt_request_id}
    if envelope.idempotency_key is not None:
        headers["idempotency-key"] = envelope.idempotency_key
    if execution.trace is None:
        headers.update(trace_headers(envelope.traceparent, envelope.tracestate))
    else:
        headers.update(execution.trace)
    return headers


def _asked(execution: Execution, call: Call, budget_s: float) -> Asked:
    return Asked(
        call=call,
        call_id=execution.call_id,
        caller=execution.envelope.caller,
        correlation_id=execution.correlation_id,
        request_id=execution.attempt_request_id,
        budget_s=budget_s,
    )


def _clashing(call: Call, scheme: Scheme) -> Failure | None:
    """Why a call may not go that has a header which may be read as one of the service's credentials.

    Some servers read `x_api_key` as `x-api-key`. Where it is spelled alike, the credentials go in its place.
    """
    given = call.metadata if isinstance(call, GrpcCall) else call.headers
    for name in given:
        spelled = name.lower()
        if spelled not in scheme.names and spelled.replace("_", "-") in scheme.names:
            return Failure(
                error=InvalidCallError,
                message=f"headers.{name}: the gateway sets it for this service; leave it out",
                delivery=Delivery.NOT_SENT,
                details={"field": f"headers.{name}"},
                repeatable=False,
            )
    return None


def _is_refusal(result: Answer | Failure) -> bool:
    return isinstance(result, Failure) and issubclass(result.error, ServiceAuthError) and result.status in _REFUSED
