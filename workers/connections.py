"""The transports of all services, made on the loop that uses them."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.call import GrpcCall, Protocol
from gateway.catalogue import Catalogue
from gateway.service import Service
from workers.transports.base import Transport, Usage

__all__ = ["Connections"]


class Connections:
    """One transport for each service and protocol.

    Args:
        catalogue: the services.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        root = Path(catalogue.path).resolve().parent
        # All at once: a library that is loaded when the first call comes would eat that call's time.
        self._open: dict[tuple[str, Protocol], Transport] = {
            (service.name, protocol): _MAKERS[protocol](service, root)
            for service in catalogue.services.values()
            for protocol in service.protocols
        }

    def to(self, service: Service, protocol: Protocol) -> Transport:
        """The transport for a call."""
        return self._open[service.name, protocol]

    def usage(self) -> dict[tuple[str, str], Usage]:
        """Connections and places now, by service and protocol."""
        return {key: transport.usage for key, transport in self._open.items()}

    async def method_says(self, service: Service, call: GrpcCall, headers: Mapping[str, str]) -> bool | None:
        """What a gRPC method's description says about repeating it; None: nothing, or it cannot be asked now."""
        from workers.transports.rpc import GrpcTransport

        transport = self.to(service, "grpc")
        return await transport.idempotent(call, headers) if isinstance(transport, GrpcTransport) else None

    async def close(self) -> None:
        """Close all of them."""
        await asyncio.gather(*(transport.close() for transport in self._open.values()), return_exceptions=True)

    def __repr__(self) -> str:
        return f"<Connections {' '.join(map(repr, self._open.values())) or 'none open'}>"


# A worker whose catalogue has no gRPC service never loads gRPC, and the same for HTTP.


def _rest(service: Service, _: Path) -> Transport:
    from workers.transports.rest import RestTransport

    return RestTransport(service)


def _graphql(service: Service, _: Path) -> Transport:
    from workers.transports.graphql import GraphQLTransport

    return GraphQLTransport(service)


def _grpc(service: Service, root: Path) -> Transport:
    from workers.transports.rpc import GrpcTransport

    return GrpcTransport(service, root)


_MAKERS: dict[Protocol, Callable[[Service, Path], Transport]] = {"rest": _rest, "graphql": _graphql, "grpc": _grpc}
