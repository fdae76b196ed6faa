"""Which addresses a service may be at: the one decision behind every connection. Pure.

What an operator wrote as an address, in the usual notation, is its own permission, as far as it may be allowed at all.
What a name resolves to is decided by whoever runs its DNS, so it has to be public unless the catalogue says otherwise.
"""

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from gateway.address_ranges import IPAddress, embedded, kind_of
from gateway.network import Network

__all__ = ["AddressGuard", "ForbiddenAddressError", "literal_of"]

#: Names that stand for metadata services, whatever they resolve to here. Short ones (`metadata`) are left to what they
#: resolve to: a service of one's own may be called so.
_METADATA_NAMES = frozenset(
    (
        "metadata.google.internal",
        "metadata.goog",
        "instance-data.ec2.internal",
        "metadata.tencentyun.com",
        "metadata.platformequinix.com",
        "metadata.packet.net",
    )
)
#: What URL parsers take for an IPv4 address (WHATWG URL, "ends in a number"): the last label is one.
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")


class ForbiddenAddressError(ValueError):
    """None of a host's addresses may be connected to; says which, why, and the cure."""


def literal_of(host: str) -> IPAddress | None:
    """The address that a host is, in any notation that the C library or a browser takes; None for a name.

    Raises:
        ValueError: it looks like an address and is none.
    """
    bare = host.removeprefix("[").removesuffix("]")
    try:
        if ":" in bare:
            return ip_address(bare)
        return IPv4Address(socket.inet_aton(bare.removesuffix("."))) if _NUMBER.fullmatch(bare) else None
    except (OSError, ValueError):
        raise ValueError(f"has {host!r}, which looks like an IP address and is none; correct it") from None


class AddressGuard:
    """The rule for one service.

    Args:
        network: what its table allows.
    """

    def __init__(self, network: Network) -> None:
        self._everything_private = network.everything_private
        self._ranges = network.ranges

    def check(self, address: str | IPAddress, *, host: str = "") -> str | None:
        """Why an address is forbidden, with the cure; None: it is not.

        Args:
            address: what would be connected to.
            host: what the catalogue names; the address itself, or `localhost`, is a permission.
        """
        try:
            ip = ip_address(address) if isinstance(address, str) else address
        except ValueError:
            return "is no IP address"
        if host.rstrip(".").lower() in _METADATA_NAMES:
            return "is a name of cloud metadata, which nothing can allow"
        kind = kind_of(ip)
        if kind is None:
            return None
        if kind.never:
            return f"is {kind.what}, which nothing can allow"
        if self._everything_private or _is_written(ip, host) or self._is_listed(ip):
            return None
        return f'is {kind.what}; if that is meant, allow it with network = {{ allow = ["private"] }} or its range'

    def permitted(self, host: str, addresses: Iterable[str]) -> list[str]:
        """Those of a host's addresses that may be connected to, at least one.

        Raises:
            ForbiddenAddressError: there is none.
        """
        kept, refused = [], []
        for address in addresses:
            why = self.check(address, host=host)
            if why is None:
                kept.append(address)
            else:
                refused.append((address, why))
        if kept or not refused:
            return kept
        address, why = refused[0]
        named = f"{host} ({address})" if address != host else host
        more = f" (and {len(refused) - 1} more of its addresses)" if len(refused) > 1 else ""
        raise ForbiddenAddressError(f"{named} {why}{more}")

    def _is_listed(self, ip: IPAddress) -> bool:
        if any(ip.version == span.version and ip in span for span in self._ranges):
            return True
        # What is carried in it is what is reached in the end: all of that has to be listed.
        inner = list(embedded(ip)) if isinstance(ip, IPv6Address) else []
        return bool(inner) and all(kind_of(one) is None or self._is_listed(one) for one in inner)


def _is_written(ip: IPAddress, host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
        return _is_loopback(ip)
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")) == ip
    except ValueError:
        return False


def _is_loopback(ip: IPAddress) -> bool:
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return ip.is_loopback or (mapped is not None and mapped.is_loopback)
