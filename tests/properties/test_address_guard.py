"""No way of writing a forbidden address gets past the guard, and nothing but a permission opens a private one."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address_guard import AddressGuard, ForbiddenAddressError, literal_of
from gateway.address_ranges import embedded
from gateway.network import Network

CLOSED = AddressGuard(Network())
OPEN = AddressGuard(Network(allow=("private", "0.0.0.0/0", "::/0")))

#: Where nobody may ever be sent.
NEVER = [
    IPv4Network(span)
    for span in ("169.254.0.0/16", "0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32", "168.63.129.16/32")
]
PRIVATE = [
    IPv4Network(span)
    for span in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "100.64.0.0/11", "198.18.0.0/15")
]


def inside(spans: list[IPv4Network]) -> st.SearchStrategy[IPv4Address]:
    return st.sampled_from(spans).flatmap(
        lambda span: st.integers(int(span.network_address), int(span.broadcast_address)).map(IPv4Address)
    )


def carriers(address: IPv4Address) -> dict[str, IPv6Address]:
    """The IPv6 addresses that are, or may become, an IPv4 address."""
    number = int(address)
    forms = {
        "mapped": 0xFFFF << 32 | number,
        "translated": 0xFFFF << 48 | number,
        "6to4": 0x2002 << 112 | number << 80 | 1,
        "NAT64": 0x64FF9B << 96 | number,
        "local NAT64 /96": 0x64FF9B0001 << 80 | number,
        "local NAT64 /48": 0x64FF9B0001 << 80 | number >> 16 << 64 | (number & 0xFFFF) << 40,
        "local NAT64 /56": 0x64FF9B0001 << 80 | number >> 24 << 64 | (number & 0xFFFFFF) << 32,
        "local NAT64 /64": 0x64FF9B0001 << 80 | number << 24,
        "Teredo server": 0x20010000 << 96 | number << 64,
        "Teredo client": 0x20010000 << 96 | 0x08080808 << 64 | number ^ 0xFFFFFFFF,
        "ISATAP": 0x20010470 << 96 | 0x5EFE << 32 | number,
    }
    if number >> 24:  # else it is no such address, but one of its own
        forms["compatible"] = number
    else:
        for name in ("local NAT64 /96", "local NAT64 /48", "local NAT64 /56", "local NAT64 /64"):
            del forms[name]
    return {name: IPv6Address(form) for name, form in forms.items()}


def notations(address: IPv4Address) -> list[str]:
    """What the C library, and most of what stands on it, reads as the address."""
    number = int(address)
    a, b, c, d = address.packed
    return [
        str(number),
        hex(number),
        oct(number).replace("0o", "0"),
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{c << 8 | d}",
        f"0x{a:x}.0x{b:X}.{c}.0{d:o}",
        f"{a:#o}.{b}.{c}.{d}".replace("0o", "0"),
        f"{a}.{b}.{c}.{d}.",
    ]


@given(inside(NEVER))
def test_nothing_allows_what_is_never_allowed(address: IPv4Address) -> None:
    for guard in (CLOSED, OPEN):
        assert guard.check(address)
        assert guard.check(str(address), host=str(address))
        for form, carrier in carriers(address).items():
            assert guard.check(carrier, host=f"[{carrier}]"), form
            assert guard.check(f"{carrier}%eth0"), form
            assert guard.check(carrier.exploded), form


@given(inside(PRIVATE))
def test_a_private_address_needs_a_permission(address: IPv4Address) -> None:
    assert "network" in (CLOSED.check(address, host="evil.example") or "")
    assert CLOSED.check(address, host=str(address)) is None
    assert OPEN.check(address, host="users.internal") is None
    for form, carrier in carriers(address).items():
        assert CLOSED.check(carrier, host="evil.example"), form
    exact = AddressGuard(Network(allow=(f"{address}/32",)))
    assert exact.check(address, host="users.internal") is None
    assert exact.check(IPv6Address(0xFFFF << 32 | int(address)), host="users.internal") is None


@given(st.one_of(inside(NEVER), inside(PRIVATE)))
def test_every_notation_is_read_as_what_it_stands_for(address: IPv4Address) -> None:
    for text in notations(address):
        assert literal_of(text) == address


@given(st.ip_addresses())
def test_what_passes_without_a_permission_is_public(address: IPv4Address | IPv6Address) -> None:
    if CLOSED.check(address, host="name.example") is None:
        # What an IPv6 address carries is where it leads; Python versions differ in what they call the carrier.
        leads: list[IPv4Address | IPv6Address] = [*embedded(address)] if isinstance(address, IPv6Address) else []
        assert all(one.is_global for one in leads or [address])
        assert not address.is_multicast


@given(st.ip_addresses(), st.lists(st.ip_addresses()))
def test_only_what_passes_is_kept(first: IPv4Address, others: list[IPv4Address]) -> None:
    addresses = [str(first), *map(str, others)]
    passing = [address for address in addresses if CLOSED.check(address, host="name.example") is None]
    if passing:
        assert CLOSED.permitted("name.example", addresses) == passing
    else:
        with pytest.raises(ForbiddenAddressError, match=r"name\.example"):
            CLOSED.permitted("name.example", addresses)


@pytest.mark.parametrize(
    "address",
    ["::", "fe80::1", "fe80::1%eth0", "ff02::1", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "255.255.255.255"],
)
def test_other_addresses_that_are_never_allowed(address: str) -> None:
    assert "nothing can allow" in (OPEN.check(address, host=address) or "")


@pytest.mark.parametrize("address", ["::1", "fd12::1", "fec0::1", "2001:db8::1", "64:ff9b:1::8:8", "::2", "4000::1"])
def test_other_addresses_that_need_a_permission(address: str) -> None:
    assert CLOSED.check(address, host="name.example")
    assert OPEN.check(address, host="name.example") is None


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_need_none(address: str) -> None:
    assert CLOSED.check(address, host="name.example") is None


def test_localhost_is_a_permission_for_loopback_alone() -> None:
    for name in ("localhost", "LOCALHOST", "localhost.", "users.localhost"):
        assert CLOSED.check("127.0.0.1", host=name) is None
        assert CLOSED.check("::1", host=name) is None
        assert CLOSED.check("10.0.0.1", host=name)
    assert CLOSED.check("127.0.0.1", host="localhost.example.com")


def test_words_and_ranges_of_the_catalogue() -> None:
    guard = AddressGuard(Network(allow=("loopback", "10.20.0.0/16", "fd12::/16")))
    for address in ("127.3.2.1", "::1", "10.20.7.7", "fd12::7", "::ffff:10.20.7.7"):
        assert guard.check(address, host="users") is None
    for address in ("10.21.0.1", "192.168.0.1", "fd13::7", "::ffff:10.21.0.1"):
        assert guard.check(address, host="users")
    assert OPEN.check("8.8.8.8", host="metadata.google.internal")


@pytest.mark.parametrize("entry", ["all", "10.0.0.1/8", "10.0.0.0/33", "", "169.254.0.0/16", "ff00::/8", "0.0.0.0"])
def test_what_cannot_be_allowed_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"network\.allow"):
        Network(allow=(entry,))


def test_names_are_no_addresses() -> None:
    for name in ("user-service", "a.b.example", "1and1.com", "0x.example", "x1", "dead.beef"):
        assert literal_of(name) is None
    for wrong in ("1.2.3.4.5", "256.256.256.256", "0x1.example.1"):
        with pytest.raises(ValueError, match="address"):
            literal_of(wrong)
