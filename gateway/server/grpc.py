"""gRPC server interceptors that let only callers with a service key through. Importing this loads grpc."""

# The classes of grpc are generic only in its stubs.
from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Never

import grpc
import grpc.aio

from gateway.server.keys import ServiceKeys

__all__ = ["HEALTH", "REFLECTION", "ServiceAuthInterceptor", "SyncServiceAuthInterceptor"]

#: The standard health service, which load balancers and orchestrators ask without a key.
HEALTH = ("grpc.health.v1.Health",)
#: Server reflection. Add it to `exempt` where the shape of the API is no secret.
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

_MESSAGE = "Invalid authentication"


class _Gate:
    """Decides from a call's method and metadata whether it may pass."""

    def __init__(self, keys: ServiceKeys | Iterable[str | bytes], header: str, exempt: Iterable[str]) -> None:
        if isinstance(exempt, str):
            raise TypeError("exempt is one string, whose every character would be a service; pass (service,)")
        self.keys = keys if isinstance(keys, ServiceKeys) else ServiceKeys(keys)
        self.header = header.lower()
        self.exempt = frozenset(exempt)

    def passes(self, call: grpc.HandlerCallDetails) -> bool:
        method = call.method.removeprefix("/")
        if method in self.exempt or method.partition("/")[0] in self.exempt:
            return True
        given = [value for name, value in call.invocation_metadata or () if name.lower() == self.header]
        # Two keys are refused even if both are right, as over HTTP.
        return len(given) == 1 and self.keys.accept(given[0])

    def __repr__(self) -> str:
        return f"{self.header} {self.keys!r}"


class ServiceAuthInterceptor(grpc.aio.ServerInterceptor):
    """For `grpc.aio` servers: ends a call with UNAUTHENTICATED unless its metadata has exactly one accepted key.

    Calls of all four kinds, and of methods that do not exist, are refused in the same way, before a message is read.

    Args:
        keys: the keys, or what `ServiceKeys` takes.
        header: name of the metadata.
        exempt: services (`package.Service`) and methods (`package.Service/Method`) that need no key.

    Raises:
        ServiceKeysError: there is no usable key.
    """

    def __init__(
        self,
        keys: ServiceKeys | Iterable[str | bytes],
        *,
        header: str = "x-service-auth",
        exempt: Iterable[str] = HEALTH,
    ) -> None:
        self._gate = _Gate(keys, header, exempt)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Let a call pass, or give it a handler that ends it."""
        if self._gate.passes(handler_call_details):
            return await continuation(handler_call_details)
        return _REFUSAL

    def __repr__(self) -> str:
        return f"<ServiceAuthInterceptor {self._gate!r}>"


class SyncServiceAuthInterceptor(grpc.ServerInterceptor):
    """The same for `grpc.server`, the one with threads; see `ServiceAuthInterceptor`."""

    def __init__(
        self,
        keys: ServiceKeys | Iterable[str | bytes],
        *,
        header: str = "x-service-auth",
        exempt: Iterable[str] = HEALTH,
    ) -> None:
        self._gate = _Gate(keys, header, exempt)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Let a call pass, or give it a handler that ends it."""
        if self._gate.passes(handler_call_details):
            return continuation(handler_call_details)
        return _SYNC_REFUSAL

    def __repr__(self) -> str:
        return f"<SyncServiceAuthInterceptor {self._gate!r}>"


async def _refuse(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]) -> Never:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, _MESSAGE)


def _refuse_sync(requests: Iterator[Any], context: grpc.ServicerContext) -> Never:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, _MESSAGE)


# A handler of two streams serves a call of any kind here: it waits for no message and ends with a status alone.
_REFUSAL: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(_refuse)
_SYNC_REFUSAL: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(_refuse_sync)
