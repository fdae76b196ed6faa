"""The transports of all services: each made when its first call comes, on the loop that uses it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from gateway.call import Protocol
from gateway.catalogue import Catalogue
from gateway.service import Service
from workers.transports.base import Transport

__all__ = ["Connections"]


class Connections:
    """One transport for each service and protocol.

    Args:
        catalogue: the services.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._root = Path(catalogue.path).resolve().parent
        self._open: dict[tuple[str, Protocol], Transport] = {}

    def to(self, service: Service, protocol: Protocol) -> Transport:
        """The transport for a call."""
        key = (service.name, protocol)
        transport = self._open.get(key)
        if transport is None:
            transport = self._open[key] = _MAKERS[protocol](service, self._root)
        return transport

    async def close(self) -> None:
        """Close all of them."""
        transports, self._open = list(self._open.values()), {}
        await asyncio.gather(*(transport.close() for transport in transports), return_exceptions=True)

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
