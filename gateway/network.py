"""The table `network` of a service: which addresses beside public ones its name may stand for."""

from ipaddress import ip_network

import msgspec

from gateway.address_ranges import IPNetwork, is_never_allowed

__all__ = ["LOOPBACK", "PRIVATE", "Network"]

#: Every range that is not public; see `gateway.address_ranges`.
PRIVATE = "private"
LOOPBACK = "loopback"
#: What the word stands for, with the form of IPv6 that means the same to the kernel.
_LOOPBACK_RANGES = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Attributes:
    allow: `"private"` for all private ranges, `"loopback"`, or ranges as CIDR, such as `"10.20.0.0/16"`. What is
        never allowed (link-local, metadata, multicast, …) stays so.
    """

    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for entry in self.allow:
            if entry in (PRIVATE, LOOPBACK):
                continue
            try:
                listed = ip_network(entry)
            except ValueError as error:
                raise ValueError(
                    f'network.allow has "{entry:.60}", which is no range ({error}); write "private", "loopback" or a'
                    ' range such as "10.20.0.0/16"'
                ) from None
            if is_never_allowed(listed):
                raise ValueError(f'network.allow has "{entry}", which nothing can allow; leave it out')

    @property
    def everything_private(self) -> bool:
        """Whether all private ranges are allowed."""
        return PRIVATE in self.allow

    @property
    def ranges(self) -> tuple[IPNetwork, ...]:
        """The ranges that are listed."""
        listed = tuple(ip_network(entry) for entry in self.allow if entry not in (PRIVATE, LOOPBACK))
        return listed + (_LOOPBACK_RANGES if LOOPBACK in self.allow else ())
