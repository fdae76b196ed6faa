"""`gateway doctor`: is this installation sound, and if not, what to do."""

import os
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.broker import BROKER_ERRORS
from gateway.catalogue import Catalogue, CatalogueError
from gateway.cli.glance import counted
from gateway.collisions import collisions
from gateway.fleet import Fleet
from gateway.redis_client import ERRORS, open_sync
from gateway.service import Service
from gateway.settings import Settings, SettingsError

__all__ = ["colliding", "doctor", "sent_unencrypted", "skewed"]

#: A clock that is further from the fleet's is worth a word.
_SKEW_S = 1.0


class _Finding(NamedTuple):
    level: Literal["ok", "warning", "error"]
    what: str
    said: str


@click.command()
def doctor() -> None:
    """Check environment, catalogue, broker and result store. Exits 1 if something is wrong."""
    findings = list(_look())
    table = Table(title="gateway doctor")
    for column in ("", "what", "finding"):
        table.add_column(column, overflow="fold")
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    for finding in findings:
        table.add_row(f"[{colours[finding.level]}]{finding.level}[/]", escape(finding.what), escape(finding.said))
    Console().print(table)
    sys.exit(any(finding.level == "error" for finding in findings))


def _look() -> Iterator[_Finding]:
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        yield _Finding("error", "environment", str(error))
        return
    yield _Finding("ok", "environment", repr(settings))
    yield from _catalogue(settings)
    yield from _broker(settings)
    yield from _result_store(settings)


def _catalogue(settings: Settings) -> Iterator[_Finding]:
    if settings.config is None:
        yield _Finding("warning", "catalogue", "none; a producer can do without, a worker cannot: set GATEWAY_CONFIG")
        return
    try:
        catalogue = Catalogue.load(settings.config, os.environ)
    except CatalogueError as error:
        yield from (_Finding("error", "catalogue", problem) for problem in error.problems)
        return
    yield _Finding("ok", "catalogue", f"{counted(len(catalogue.services), 'service')} in {catalogue.path}")
    for key in catalogue.written_urls:
        yield _Finding(
            "warning", "catalogue", f'{key} is written into the file; take it from the environment: "${{NAME}}"'
        )
    for key in catalogue.not_acted_on:
        yield _Finding("warning", "catalogue", f"{key} is read, and this version does not act on it")
    for name, service in catalogue.services.items():
        kind, _, place = service.auth.secret.partition(":") if service.auth else ("", "", "")
        if kind == "env" and not os.environ.get(place):
            yield _Finding("error", f"services.{name}.auth", f"{place} is not set; set it in the workers' environment")
        if kind == "file" and not os.access(place, os.R_OK):
            yield _Finding("error", f"services.{name}.auth", f"{place} cannot be read; correct the path or its rights")
        for key, cure in sent_unencrypted(service):
            yield _Finding("warning", "catalogue", f"services.{name}.{key} sends its secret unencrypted; {cure}")
        for key, said in colliding(service):
            yield _Finding("warning", "catalogue", f"{key}: {said}")


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


def _broker(settings: Settings) -> Iterator[_Finding]:
    from kombu import Connection

    try:
        with Connection(settings.broker_url, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            yield _Finding("ok", "broker", connection.as_uri())
    except BROKER_ERRORS as error:
        yield _Finding("error", "broker", f"does not answer ({error}); start it, or correct GATEWAY_BROKER_URL")


def skewed(ahead_s: float) -> str:
    """What to say of a fleet's clock that is so many seconds ahead of this host's; nothing if it is near enough."""
    if abs(ahead_s) <= _SKEW_S:
        return ""
    side = "behind" if ahead_s > 0 else "ahead of"
    return (
        f"this host's clock is {abs(ahead_s):.1f} s {side} the result store's, by which deadlines go; log lines and"
        " messages of producers without this package go by the host's: set both by NTP"
    )


def _result_store(settings: Settings) -> Iterator[_Finding]:
    try:
        with open_sync(settings.result_url) as client:
            memory: Any = client.info("memory")
            skew = skewed(Fleet(client).clock_skew_s())
    except ERRORS as error:
        yield _Finding("error", "result store", f"does not answer ({error}); start it, or correct GATEWAY_RESULT_URL")
        return
    policy = memory.get("maxmemory_policy")
    if policy not in (None, "noeviction"):
        yield _Finding(
            "error",
            "result store",
            f"maxmemory-policy is {policy}: queues and results may be evicted; set it to noeviction",
        )
    else:
        yield _Finding("ok", "result store", "answers, and evicts nothing")
    if skew:
        yield _Finding("warning", "clock", skew)
