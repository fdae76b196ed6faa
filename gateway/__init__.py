"""Calls between services, queued: enqueue a REST, gRPC or GraphQL call, get a typed reply or a typed error.

    from gateway import Gateway, RestCall

    gateway = Gateway.from_env()
    pending = gateway.submit(RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"}))
    reply = pending.result(timeout=15)

No HTTP client and no gRPC is loaded here: those run in the workers. The names below are loaded on first use, so that a
service that only takes `gateway.server` for its own door loads no Celery either.
"""

import importlib
from typing import TYPE_CHECKING, Any

# Loaded at once: Celery rebuilds an error as its class only where the module is loaded already.
from gateway import errors

if TYPE_CHECKING:
    from gateway.call import Call, GraphQLCall, GrpcCall, RestCall
    from gateway.catalogue import Catalogue, CatalogueError
    from gateway.client import Gateway
    from gateway.pending import PendingCall
    from gateway.records import CallState
    from gateway.reference import previous
    from gateway.reply import Reply, Timing
    from gateway.settings import Settings, SettingsError

__all__ = [
    "Call",
    "CallState",
    "Catalogue",
    "CatalogueError",
    "Gateway",
    "GraphQLCall",
    "GrpcCall",
    "PendingCall",
    "Reply",
    "RestCall",
    "Settings",
    "SettingsError",
    "Timing",
    "errors",
    "previous",
]

_PLACES = {
    "Call": "call",
    "CallState": "records",
    "Catalogue": "catalogue",
    "CatalogueError": "catalogue",
    "Gateway": "client",
    "GraphQLCall": "call",
    "GrpcCall": "call",
    "PendingCall": "pending",
    "Reply": "reply",
    "RestCall": "call",
    "Settings": "settings",
    "SettingsError": "settings",
    "Timing": "reply",
    "previous": "reference",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gateway.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
