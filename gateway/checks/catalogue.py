"""The catalogue: whether it can be read, and what in it does not act as somebody may think."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from gateway.catalogue import Catalogue
from gateway.checks.finding import Finding, Level
from gateway.checks.unused_tls import unused_tls
from gateway.collisions import collisions
from gateway.permission import Rule
from gateway.service import Service

__all__ = ["check_catalogue", "colliding", "sent_unencrypted", "who_may_call"]

_WHAT = "catalogue"


def check_catalogue(catalogue: Catalogue) -> Iterator[Finding]:
    """What is valid, and worth a word nevertheless."""
    for key in catalogue.written_urls:
        yield _warning(f"{key} is written into the file", 'take it from the environment: "${NAME}"')
    for found, cure in who_may_call(catalogue):
        yield _warning(found, cure)
    for name, service in catalogue.services.items():
        for key, cure in sent_unencrypted(service):
            yield _warning(f"services.{name}.{key} sends its secret unencrypted", cure)
        for key, cure in unused_tls(service):
            yield _warning(f"services.{name}.tls does not act on {key}, which does not speak TLS", cure)
        for key, said in colliding(service):
            yield _warning(f"{key}: {said}", "")


def who_may_call(catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """What is found, and the cure, where a caller may do more or less than somebody may think."""
    if not catalogue.callers:
        yield (
            "no caller is configured: whoever reaches the broker may call everything with the gateway's credentials",
            "add [callers.NAME] with key and allow, see docs/callers.md",
        )
    for name, caller in catalogue.callers.items():
        key = f"callers.{name}"
        if not caller.allow:
            yield f"{key} may call nothing", f'add allow = ["SERVICE OPERATION"] to [{key}]'
        for rule in map(Rule.parse, caller.allow):
            if not any(rule.service.fullmatch(service) for service in catalogue.services):
                yield f"{key}.allow: {rule.line!r} is of no service that there is", "correct it, or take it out"
            if rule.names_a_label:
                yield (
                    f"{key}.allow: {rule.line!r} names a GraphQL operation, which is what a caller calls its document",
                    "write 'query *' or 'mutation *', and let the service check the rest",
                )


def _warning(found: str, cure: str) -> Finding:
    return Finding(level=Level.WARNING, what=_WHAT, found=found, cure=cure)


def colliding(service: Service) -> Iterator[tuple[str, str]]:
    """Key and line of each collision in a service's policy and in those of its operations, each named once.

    What depends on a call's deadline is left out: producers choose it. `gateway explain` has it.
    """
    key = f"services.{service.name}"
    known = set(collisions(service.policy, deadline_s=None))
    yield from ((key, said) for said in collisions(service.policy, deadline_s=None))
    for operation, policy in service.operation_policies.items():
        special = service.operations[operation]
        # A hedge that comes from the service is meant for other operations.
        idempotent = special.idempotent if special.hedge else None
        for said in collisions(policy, deadline_s=None, idempotent=idempotent):
            if said not in known:
                yield f'{key}.operations."{operation}"', said


def sent_unencrypted(service: Service) -> Iterator[tuple[str, str]]:
    """The endpoints to which a service's secret goes over a network as it is: key of the catalogue, and cure.

    What stays on this host (loopback, Unix sockets) is left out.
    """
    if service.auth is None:
        return
    for key, endpoint in (("rest.url", service.rest), ("graphql.url", service.graphql)):
        if endpoint is not None:
            url = urlsplit(endpoint.url)
            if url.scheme == "http" and not _is_here(url.hostname or ""):
                yield key, "use https://"
    if service.grpc is not None and not service.grpc.tls and not _target_is_here(service.grpc.target):
        yield "grpc.target", "set grpc.tls = true"


def _target_is_here(target: str) -> bool:
    """Of a gRPC name (https://grpc.github.io/grpc/core/md_doc_naming.html): `scheme:[//authority/]addresses`."""
    scheme, colon, rest = target.partition(":")
    if scheme in ("unix", "unix-abstract"):
        return True
    if colon and scheme in ("dns", "ipv4", "ipv6", "vsock"):
        target = rest.rpartition("/")[2]
    return all(_is_here(_host(address)) for address in target.split(","))


def _host(address: str) -> str:
    """Of `host:port`, `[host]:port` or a host alone."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.rpartition(":")[0] if address.count(":") == 1 else address


def _is_here(host: str) -> bool:
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
