"""What is wrong with the addresses of a service, as far as they can be read without asking anybody."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.address_guard import AddressGuard, literal_of
from gateway.grpc_target import GrpcTarget
from gateway.service import Service

__all__ = ["address_problems", "hosts_of"]

#: RFC 3986 without what URL parsers disagree about: backslashes, spaces, control characters, what is not ASCII.
_URL = re.compile(r"[!-\[\]-~]+")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")


def address_problems(key: str, service: Service) -> Iterator[str]:
    """A line for each endpoint whose address is none, or one that nothing can allow.

    Args:
        key: of the service's table.
        service: with every variable resolved.
    """
    for place, url in (("rest.url", service.rest), ("graphql.url", service.graphql)):
        if url is not None:
            yield from _url_problems(f"{key}.{place}", url.url)
    if service.grpc is not None:
        try:
            GrpcTarget.parse(service.grpc.target)
        except ValueError as error:
            yield f"{key}.grpc.target = {service.grpc.target!r}: {error}"
    guard = AddressGuard(service.network)
    for place, host in hosts_of(service):
        try:
            literal = literal_of(host)
        except ValueError:
            continue  # it is named above
        plain = None if literal is None else str(literal)
        if plain is not None and "%" in plain:
            yield f"{key}.{place}: {host!r} has a zone id; leave it out"
        elif plain is not None and ":" not in host and host != plain:
            yield f"{key}.{place}: {host!r} is another way to write {plain}; write that"
        else:
            why = guard.check(plain or "8.8.8.8", host=host)  # of a name, only the name itself is looked at
            if why is not None:
                yield f"{key}.{place}: {host!r} {why}; name the service's own address"


def hosts_of(service: Service) -> Iterator[tuple[str, str]]:
    """Key and host of each endpoint that has one; what cannot be read is left out."""
    urls = [(place, at.url) for place, at in (("rest.url", service.rest), ("graphql.url", service.graphql)) if at]
    if service.auth is not None:
        urls.append(("auth.token_url", service.auth.token_url))
    for place, url in urls:
        try:
            host = urlsplit(url).hostname
        except ValueError:
            continue
        if host:
            yield place, host
    if service.grpc is not None:
        try:
            places = GrpcTarget.parse(service.grpc.target).places
        except ValueError:
            return
        yield from (("grpc.target", host) for host, _ in places)


def _url_problems(key: str, url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_valid = None, False
    if parts is None or not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname:
        yield f"{key} = {url!r}: is not an http or https URL; write for example 'http://user-service:5000'"
    elif parts.username is not None or parts.password is not None:
        yield f"{key}: has credentials in it; use `auth` with a secret reference instead"
    elif parts.query or parts.fragment:
        yield f"{key} = {url!r}: has a query or a fragment; leave them out"
    elif not _URL.fullmatch(url):
        yield f"{key} = {url!r}: has a space, a backslash or what is not ASCII; percent-encode it, a host as xn--…"
    elif "[" not in parts.netloc and not _is_host(parts.hostname):
        yield f"{key} = {url!r}: has no host that can be looked up; write letters, digits, '-' and '.'"


def _is_host(host: str) -> bool:
    try:
        literal_of(host)
    except ValueError:
        return False
    return len(host) <= 253 and _HOST.fullmatch(host) is not None
