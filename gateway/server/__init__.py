"""What a service needs to know that it was called by someone who may: service keys, and middleware that asks for one.

`ServiceAuthInterceptor` and `SyncServiceAuthInterceptor` load grpc on first use; nothing else here needs a library.
"""

from typing import TYPE_CHECKING, Any

from gateway.server.asgi import ServiceAuthMiddleware
from gateway.server.keys import ServiceKeys

if TYPE_CHECKING:
    from gateway.server.grpc import ServiceAuthInterceptor, SyncServiceAuthInterceptor

__all__ = ["ServiceAuthInterceptor", "ServiceAuthMiddleware", "ServiceKeys", "SyncServiceAuthInterceptor"]


def __getattr__(name: str) -> Any:
    if name not in ("ServiceAuthInterceptor", "SyncServiceAuthInterceptor"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from gateway.server import grpc
    except ModuleNotFoundError as error:
        if error.name != "grpc":
            raise
        raise ImportError(f"{name} needs grpcio; `pip install grpcio`") from error
    return getattr(grpc, name)


def __dir__() -> list[str]:
    return sorted(__all__)
