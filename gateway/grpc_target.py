"""The address of a gRPC service, as the catalogue has it (https://grpc.github.io/grpc/core/md_doc_naming.html)."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from gateway.address_guard import literal_of

__all__ = ["GrpcTarget"]

#: What gRPC takes where none is written.
_PORT = 443
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")
_LOCAL = ("unix", "unix-abstract")
_SAMPLE = "write for example 'users:50051', 'dns:///users:50051' or 'unix:/run/users.sock'"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcTarget:
    """Where a gRPC service is. The gateway looks names up itself, so schemes that do it otherwise are refused.

    Attributes:
        text: as it is written.
        places: host and port; several where addresses are listed, none for a Unix socket.
        authority: of a name, what the service is asked as: `:authority`, and the name in its certificate.
    """

    text: str
    places: tuple[tuple[str, int], ...]
    authority: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a target.

        Raises:
            ValueError: it is none; says why, and the cure.
        """
        if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
            raise ValueError(f"is not a gRPC target; {_SAMPLE}")
        scheme, colon, rest = text.partition(":")
        if colon and scheme in _LOCAL:
            if not rest.strip("/"):
                raise ValueError("names no socket; write for example 'unix:/run/users.sock'")
            return cls(text=text, places=())
        if colon and scheme in ("ipv4", "ipv6"):
            return cls(text=text, places=tuple(_literal(scheme, one) for one in rest.split(",")))
        if colon and scheme == "dns" and not rest.isdecimal():
            if rest.startswith("//"):
                server, slash, rest = rest[2:].partition("/")
                if server or not slash:
                    raise ValueError("names a DNS server; write 'dns:///host:port', which asks the host's own")
            return cls._of(text, rest)
        if "://" in text or "/" in text:
            raise ValueError(f"has a scheme that is not known; {_SAMPLE}")
        return cls._of(text, text)

    @classmethod
    def _of(cls, text: str, place: str) -> Self:
        host, port = _place(place)
        return cls(text=text, places=((host, port),), authority=place if literal_of(host) is None else None)

    @property
    def name(self) -> tuple[str, int] | None:
        """Name and port to look up; None where addresses, or a socket, are written."""
        return None if self.authority is None else self.places[0]


def _place(text: str) -> tuple[str, int]:
    """Of `host`, `host:port`, `[address]`, `[address]:port` or an IPv6 address alone."""
    if text.startswith("["):
        host, _, after = text[1:].partition("]")
        written = after.removeprefix(":") if after else ""
        whole = not after or (after.startswith(":") and bool(written))
    elif text.count(":") > 1:
        host, written, whole = text, "", True
    else:
        host, colon, written = text.partition(":")
        whole = not colon or bool(written)
    if not whole or not (written.isdecimal() or not written) or len(written) > 5:
        raise ValueError(f"has no port, or one that is no number; {_SAMPLE}")
    port = int(written) if written else _PORT
    if not 0 < port < 65536:
        raise ValueError(f"has the port {port}; write one from 1 to 65535")
    if ":" not in host and not _NAME.fullmatch(host):
        raise ValueError(f"has no host; {_SAMPLE}")
    literal_of(host)  # raises for what only looks like an address
    return host, port


def _literal(scheme: str, text: str) -> tuple[str, int]:
    host, port = _place(text)
    try:
        written = f"ipv{ip_address(host).version}"
    except ValueError:
        written = "no address"
    if scheme != written:
        raise ValueError(f"has {host!r}, which is no address of {scheme}; write for example 'ipv4:10.0.0.1:50051'")
    return host, port
