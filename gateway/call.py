"""The calls that a producer can make: frozen, complete and checked before anything is enqueued.

A call says *what* is asked of *which* service. Where the service is, how it is authenticated and how patient the
gateway is with it are the catalogue's, in the worker. A call keeps copies of the values it is given.
"""

from typing import Literal, TypeAlias

from gateway.graphql_call import GraphQLCall
from gateway.grpc_call import GrpcCall
from gateway.rest_call import RestCall

__all__ = ["Call", "GraphQLCall", "GrpcCall", "Protocol", "RestCall", "protocol_of"]

Protocol: TypeAlias = Literal["rest", "grpc", "graphql"]
Call: TypeAlias = RestCall | GrpcCall | GraphQLCall


def protocol_of(call: Call) -> Protocol:
    """The call's protocol, as the catalogue and the wire name it."""
    match call:
        case RestCall():
            return "rest"
        case GrpcCall():
            return "grpc"
        case GraphQLCall():
            return "graphql"
