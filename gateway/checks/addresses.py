"""Where the services' names lead to now, and whether a worker may connect to it."""

import socket
from collections.abc import Callable, Iterator, Sequence

from gateway.address_guard import AddressGuard, ForbiddenAddressError, literal_of
from gateway.address_problems import hosts_of
from gateway.checks.finding import Finding, Level
from gateway.checks.together import together
from gateway.service import Service

__all__ = ["check_addresses"]

#: Seconds for all names together. One that takes longer is not named: it may be a name server of elsewhere.
_PATIENCE_S = 2.0


def check_addresses(services: Sequence[Service]) -> Iterator[Finding]:
    """A line for each name all of whose addresses are forbidden. One that has none here is left out."""
    names = [
        (service, key, host) for service in services for key, host in hosts_of(service) if literal_of(host) is None
    ]
    distinct = sorted({host for _, _, host in names})
    looks: list[Callable[[], list[str]]] = [lambda host=host: _addresses(host) for host in distinct]  # type: ignore[misc]
    found = dict(zip(distinct, together(looks, within_s=_PATIENCE_S), strict=True))
    for service, key, host in names:
        try:
            AddressGuard(service.network).permitted(host, found[host] or [])
        except ForbiddenAddressError as error:
            yield Finding(
                level=Level.WARNING,
                what=f"services.{service.name}.{key}",
                found=f"its calls will be refused: {error}",
            )


def _addresses(host: str) -> list[str]:
    try:
        return list(dict.fromkeys(str(place[0]) for *_, place in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)))
    except (OSError, UnicodeError):
        return []
