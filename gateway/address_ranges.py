"""What kind of place an IP address is: public, private, or one that nobody may ever be sent to. Pure.

An IPv6 address may carry an IPv4 address that a translator or a tunnel takes out again; then both count, and the worse
of them decides.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import NamedTuple, TypeAlias

__all__ = ["IPAddress", "IPNetwork", "Kind", "embedded", "is_never_allowed", "kind_of"]

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network


class Kind(NamedTuple):
    """What an address that is not public is.

    Attributes:
        what: for people, with an article.
        never: nothing can allow it.
    """

    what: str
    never: bool


def _table(never: bool, ranges: dict[str, str]) -> tuple[tuple[IPNetwork, Kind], ...]:
    return tuple((ip_network(text), Kind(what, never)) for text, what in ranges.items())


#: First match counts. Single addresses of clouds are here that lie in ranges which are allowed, or public.
_RANGES = (
    *_table(
        True,
        {
            "169.254.169.254/32": "a cloud metadata address",
            "169.254.0.0/16": "a link-local address (RFC 3927), where cloud metadata is",
            "100.100.100.200/32": "a cloud metadata address (Alibaba)",
            "168.63.129.16/32": "a cloud metadata address (Azure)",
            "192.0.0.192/32": "a cloud metadata address (Oracle)",
            "0.0.0.0/8": "an unspecified address (RFC 1122)",
            "224.0.0.0/4": "a multicast address",
            "255.255.255.255/32": "the broadcast address",
            "240.0.0.0/4": "a reserved address (RFC 1112)",
            "::/128": "the unspecified address",
            "fe80::/10": "a link-local address (RFC 4291)",
            "ff00::/8": "a multicast address",
            "fd00:ec2::/32": "a cloud metadata address (AWS)",
            "fd20:ce::254/128": "a cloud metadata address (Google)",
            "fd00:42::42/128": "a cloud metadata address (Scaleway)",
        },
    ),
    *_table(
        False,
        {
            "10.0.0.0/8": "a private address (RFC 1918)",
            "172.16.0.0/12": "a private address (RFC 1918)",
            "192.168.0.0/16": "a private address (RFC 1918)",
            "127.0.0.0/8": "a loopback address",
            "100.64.0.0/10": "a shared address (RFC 6598)",
            "::1/128": "a loopback address",
            "fc00::/7": "a private address (RFC 4193)",
            "fec0::/10": "a site-local address (RFC 3879)",
            "2002::/16": "a 6to4 address (RFC 7526)",
            "2001::/32": "a Teredo address (RFC 4380)",
            "64:ff9b:1::/48": "a local NAT64 address (RFC 8215)",
            "::/96": "an IPv4-compatible address (RFC 4291)",
            "192.88.99.0/24": "a 6to4 relay (RFC 7526)",
            "3fff::/20": "an address for documentation (RFC 9637)",
        },
    ),
)
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
#: IPv4-mapped (RFC 4291, 2.5.5.2) and IPv4-translated (RFC 2765).
_MAPPED = (IPv6Network("::ffff:0:0/96"), IPv6Network("::ffff:0:0:0/96"))
_CARRIERS = (*_MAPPED, _NAT64)
_COMPATIBLE = IPv6Network("::/96")
#: All that is given out of IPv6 (RFC 4291, section 2.4); Python takes much of the rest for public.
_UNICAST = IPv6Network("2000::/3")
_NOWHERE = IPv4Network("0.0.0.0/8")
#: Interface identifiers of ISATAP (RFC 5214, section 6.1).
_ISATAP = (0x00005EFE, 0x02005EFE)


def kind_of(address: IPAddress) -> Kind | None:
    """What an address is; None: a public one. A zone id plays no part."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        address = IPv6Address(int(address))
    worst: Kind | None = None
    inner = list(embedded(address)) if isinstance(address, IPv6Address) else []
    # What only stands for another address has no kind of its own.
    for one in inner if any(address in carrier for carrier in _CARRIERS) else [address, *inner]:
        kind = _kind(one)
        if kind is not None and kind.never:
            return kind
        worst = worst or kind
    return worst


def _kind(address: IPAddress) -> Kind | None:
    for span, kind in _RANGES:
        if address.version == span.version and address in span:
            return kind
    public = address.is_global and (address.version == 4 or address in _UNICAST)
    return None if public else Kind("an address for special use (RFC 6890)", never=False)


def embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses in an IPv6 address."""
    number = int(address)
    last = IPv4Address(number & 0xFFFFFFFF)
    if any(address in span for span in _MAPPED) or address in _NAT64:
        yield last
    elif address in _COMPATIBLE:
        # `::` and `::1` among them are addresses of their own.
        if last not in _NOWHERE:
            yield last
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif address in _LOCAL_NAT64:
        # Nobody outside knows how long the prefix is (RFC 6052, section 2.2), so all that it may stand for counts.
        for prefix in (48, 56, 64):
            before = _bits(number, prefix, 64 - prefix)
            after = _bits(number, 72, prefix - 32)
            yield from _unless_nowhere(IPv4Address((before << (prefix - 32)) | after))
        yield from _unless_nowhere(last)
    if (number >> 32) & 0xFFFFFFFF in _ISATAP:
        yield last


def _bits(number: int, start: int, count: int) -> int:
    """`count` bits of an address from bit `start` on, counted from the left."""
    return (number >> (128 - start - count)) & ((1 << count) - 1)


def _unless_nowhere(address: IPv4Address) -> Iterator[IPv4Address]:
    if address not in _NOWHERE:
        yield address


def is_never_allowed(span: IPNetwork) -> bool:
    """Whether all addresses of a range are ones that nothing can allow."""
    return any(
        kind.never and span.version == forbidden.version and span.subnet_of(forbidden)  # type: ignore[arg-type]
        for forbidden, kind in _RANGES
    )
