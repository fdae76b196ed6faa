"""Addresses where no call may go, in every notation, and names that stand for them."""

from ipaddress import IPv4Address, IPv6Address

from tests.hostile.case import Address

_FORBIDDEN = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "0.0.0.0", "0.1.2.3"]
_FORBIDDEN += ["224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1"]
_FORBIDDEN_V6 = ["::", "fe80::1", "fe80::1%1", "ff02::1", "fd00:ec2::254", "fd20:ce::254"]
_PRIVATE = ["127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "192.0.2.1", "198.18.0.1"]
_PRIVATE_V6 = ["::1", "fd12:3456::1", "fec0::1", "2001:db8::1", "100::1", "::2"]
_NAMES = ["metadata.google.internal", "METADATA.google.internal", "metadata.google.internal.", "metadata.goog"]
_NAMES += ["instance-data.ec2.internal", "metadata.tencentyun.com"]


def _carriers(text: str) -> dict[str, str]:
    number = int(IPv4Address(text))
    return {
        form: str(IPv6Address(value))
        for form, value in {
            "mapped": 0xFFFF << 32 | number,
            "translated": 0xFFFF << 48 | number,
            "6to4": 0x2002 << 112 | number << 80 | 1,
            "NAT64": 0x64FF9B << 96 | number,
            "local NAT64": 0x64FF9B0001 << 80 | number,
            "local NAT64, /48": 0x64FF9B0001 << 80 | number >> 16 << 64 | (number & 0xFFFF) << 40,
            "Teredo": 0x20010000 << 96 | 0x08080808 << 64 | number ^ 0xFFFFFFFF,
            "compatible": number,
            "ISATAP": 0x20010470 << 96 | 0x5EFE << 32 | number,
        }.items()
    }


def _notations(text: str) -> list[str]:
    """Of an IPv4 address, other than the usual one."""
    number, (a, b, c, d) = int(IPv4Address(text)), IPv4Address(text).packed
    return [
        str(number),
        hex(number),
        f"0X{number:X}",
        f"0{number:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{c << 8 | d}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"0x{a:x}.0{b:o}.{c << 8 | d}",
        f"{a}.{b}.{c}.{d}.",
        f"00{a:o}.{b}.{c}.{d}",
    ]


def _literal(name: str, host: str) -> Address:
    return Address(family="addresses", name=name, host=f"[{host}]" if ":" in host else host)


def _named(name: str, *resolves: str, allow: tuple[str, ...]) -> Address:
    return Address(family="addresses", name=f"a name for {name}", host="users.example", resolves=resolves, allow=allow)


_ANYTHING = ("private", "0.0.0.0/0", "::/0")

CASES = [
    *(_literal(text, text) for text in (*_FORBIDDEN, *_FORBIDDEN_V6)),
    *(_literal(f"169.254.169.254 as {text}", text) for text in _notations("169.254.169.254")),
    *(
        Address(family="addresses", name=f"127.0.0.1 as {text}", host=text, allow=())
        for text in _notations("127.0.0.1")
    ),
    *(_literal(f"169.254.169.254, {form}", text) for form, text in _carriers("169.254.169.254").items()),
    *(_literal(f"0.0.0.0, {form}", text) for form, text in _carriers("0.0.0.0").items() if form in ("mapped", "NAT64")),
    *(_literal(name, name) for name in _NAMES),
    *(
        _literal(f"written as {host}", host)
        for host in ("1.2.3.4.5", "256.1.1.1", "0x.1", "127.0.0.1%00", "127.0.0.1\\")
    ),
    *(_literal(f"with a zone, {host}", host) for host in ("fe80::1%25eth0", "::1%25lo", "fe80::1%eth0")),
    *(_named(text, text, allow=_ANYTHING) for text in (*_FORBIDDEN, *_FORBIDDEN_V6)),
    *(_named(text, text, allow=()) for text in (*_PRIVATE, *_PRIVATE_V6)),
    *(_named(f"{form} 169.254.169.254", text, allow=_ANYTHING) for form, text in _carriers("169.254.169.254").items()),
    *(_named(f"{form} 127.0.0.1", text, allow=()) for form, text in _carriers("127.0.0.1").items()),
    _named("two of them", "127.0.0.1", "169.254.169.254", allow=()),
    _named("what is not in the list", "127.0.0.1", allow=("10.0.0.0/8", "127.0.0.2/32")),
    _named("mapped, not in the list", "::ffff:127.0.0.1", allow=("10.0.0.0/8",)),
]
