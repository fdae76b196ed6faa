"""Services that speak TLS, over each protocol: a server that counts what arrives, and the transport to it."""

import ssl
from pathlib import Path

from gateway.policy import Connections, Policy
from gateway.service import GraphQLEndpoint, GrpcEndpoint, RestEndpoint, Service
from gateway.tls import Tls
from tests.conformance.protocols import OVER_GRPC, OVER_HTTP, Protocol
from tests.servers.authority import PemFiles
from tests.servers.grpc_raw import RawServer
from tests.servers.grpc_raw_faults import good
from tests.servers.http_faults import HttpFaults
from workers.transports.base import Transport
from workers.transports.graphql import GraphQLTransport
from workers.transports.rest import RestTransport
from workers.transports.rpc import GrpcTransport

__all__ = ["ONE_OF_EACH", "Server", "context_for", "secured_transport", "serve"]

ROOT = Path(__file__).resolve().parents[2]
ONE_OF_EACH = [OVER_HTTP[1], OVER_HTTP[2], OVER_GRPC[0]]
Server = HttpFaults | RawServer


def context_for(protocol: Protocol, files: PemFiles, **how: object) -> ssl.SSLContext:
    """Of a server; see `PemFiles.server`."""
    return files.server(alpn="h2" if protocol.family == "grpc" else "http/1.1", **how)  # type: ignore[arg-type]


def serve(protocol: Protocol, context: ssl.SSLContext) -> Server:
    """A good server, as an asynchronous context."""
    return RawServer(good, tls=context) if protocol.family == "grpc" else HttpFaults(tls=context)


def secured_transport(protocol: Protocol, port: int, tls: Tls | None, host: str = "127.0.0.1") -> Transport:
    """To a server that speaks TLS."""
    service = Service(name="faults", policy=Policy(connections=Connections(max=2)), tls=tls)
    url = f"https://{host}:{port}"
    match protocol.family:
        case "rest":
            return RestTransport(_with(service, rest=RestEndpoint(url=url)))
        case "graphql":
            return GraphQLTransport(_with(service, graphql=GraphQLEndpoint(url=url)))
        case _:
            endpoint = GrpcEndpoint(target=f"{host}:{port}", tls=True, protos=["goodgo/user/v1/user.proto"])
            return GrpcTransport(_with(service, grpc=endpoint), ROOT)


def _with(service: Service, **endpoint: object) -> Service:
    import msgspec

    return msgspec.structs.replace(service, **endpoint)
