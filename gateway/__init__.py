"""Calls between services, queued: enqueue a REST, gRPC or GraphQL call, get a typed reply or a typed error.

    from gateway import Gateway, RestCall

    gateway = Gateway.from_env()
    pending = gateway.submit(RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"}))
    reply = pending.result(timeout=15)

Importing this package loads no HTTP client and no gRPC: those run in the workers.
"""

from gateway.call import Call, GraphQLCall, GrpcCall, RestCall
from gateway.catalogue import Catalogue, CatalogueError
from gateway.client import Gateway
from gateway.pending import PendingCall
from gateway.previous import previous
from gateway.records import CallState
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
    "previous",
]
