"""Where a gRPC channel goes: looked up here, so that what is connected to is what was checked."""

import asyncio
import socket

from gateway.address_guard import AddressGuard, literal_of
from gateway.grpc_target import GrpcTarget

__all__ = ["NoAddressError", "RpcAddresses", "channel_target"]


class NoAddressError(OSError):
    """The name cannot be looked up, or has no address."""


class RpcAddresses:
    """The addresses of one target.

    gRPC itself would look a name up again whenever it likes, and connect to whatever comes.

    Args:
        target: of the catalogue.
        guard: says which addresses may be connected to.
    """

    def __init__(self, target: GrpcTarget, guard: AddressGuard) -> None:
        self._target = target
        self._guard = guard

    async def look_up(self) -> tuple[str, ...]:
        """What a channel may connect to, as gRPC writes it; empty where it takes the target as it is written.

        Raises:
            ForbiddenAddressError: there are addresses, and none may be connected to.
            NoAddressError: there is none.
        """
        if self._target.name is None:
            for host, _ in self._target.places:
                self._guard.permitted(host, [str(literal_of(host))])
            return ()
        host, port = self._target.name
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        except (OSError, UnicodeError) as error:  # UnicodeError: of a label that is too long
            raise NoAddressError(f"no address for {host}: {getattr(error, 'strerror', None) or error}") from error
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        return tuple(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in self._permitted(host, addresses))

    def _permitted(self, host: str, addresses: list[str]) -> list[str]:
        permitted = self._guard.permitted(host, addresses)
        if not permitted:
            raise NoAddressError(f"no address for {host}")
        return permitted


def channel_target(addresses: tuple[str, ...]) -> str:
    """Addresses as one target. A target has one family, so IPv4 beside IPv6 is written as IPv4-mapped."""
    if not any(one.startswith("[") for one in addresses):
        return f"ipv4:{','.join(addresses)}"
    return "ipv6:" + ",".join(one if one.startswith("[") else _mapped(one) for one in addresses)


def _mapped(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"[::ffff:{host}]:{port}"
