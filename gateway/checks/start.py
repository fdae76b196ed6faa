"""All checks together: those of a worker that is about to connect, and those of `gateway doctor`."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from gateway.catalogue import Catalogue, CatalogueError
from gateway.checks.addresses import check_addresses
from gateway.checks.catalogue import check_catalogue
from gateway.checks.expiry import check_expiry
from gateway.checks.finding import Finding, Level
from gateway.checks.ports import check_ports
from gateway.checks.servers import check_servers
from gateway.checks.together import together
from gateway.checks.visibility import check_visibility
from gateway.checks.worker_side import check_worker_side
from gateway.records import RESULT_EXPIRES_S
from gateway.service import Service
from gateway.settings import Settings
from gateway.visibility import visibility_timeout_s as usual_visibility_timeout_s

__all__ = ["check_all", "check_worker"]

#: For so long a worker asks again: containers start together.
_PATIENCE_S = 3.0
#: Seconds for what workers load; its own bound is shorter.
_LOADING_S = 40.0


def check_worker(
    settings: Settings,
    catalogue: Catalogue,
    environ: Mapping[str, str],
    *,
    visibility_timeout_s: float | None = None,
    result_expires_s: float = RESULT_EXPIRES_S,
    patience_s: float = _PATIENCE_S,
) -> list[Finding]:
    """What a worker should know before it connects. With an error among them it does not start.

    Secrets, certificates, interceptors and protos are not looked at: the worker loads them itself. Takes a few round
    trips, and five seconds at the most.

    Args:
        settings: where broker and result store are.
        catalogue: its services.
        environ: has `GATEWAY_ALLOW_EVICTION`.
        visibility_timeout_s: that the worker's app has, on Redis; by default what follows from the catalogue.
        result_expires_s: for how long the worker's app keeps results.
        patience_s: for how long servers that do not answer are asked again.
    """
    services = list(catalogue.services.values())
    if visibility_timeout_s is None:
        visibility_timeout_s = usual_visibility_timeout_s(services)
    looks: list[Callable[[], list[Finding]]] = [
        lambda: list(check_servers(settings, services, environ, starting=True, patience_s=patience_s)),
        lambda: list(check_addresses(services)),
    ]
    servers, addresses = together(looks, within_s=_LOADING_S)
    return [
        *(servers or []),
        *(addresses or []),
        *_times(settings, services, visibility_timeout_s, result_expires_s),
    ]


def check_all(
    settings: Settings, environ: Mapping[str, str], *, wall: Callable[[], float] = time.time
) -> list[Finding]:
    """Everything, for `gateway doctor`.

    Args:
        settings: of the environment.
        environ: resolves the catalogue's `${NAME}`.
        wall: this host's clock.
    """
    catalogue, findings = _catalogue(settings, environ)
    services = list(catalogue.services.values()) if catalogue else []
    looks: list[Callable[[], list[Finding]]] = [
        lambda: list(check_servers(settings, services, environ, starting=False, wall=wall)),
        lambda: list(check_worker_side(environ)) if catalogue else [],
        lambda: list(check_ports(environ)),
        lambda: list(check_addresses(services)),
    ]
    servers, loaded, ports, addresses = together(looks, within_s=_LOADING_S)
    return [
        *findings,
        *(loaded or []),
        *(addresses or []),
        *(servers or []),
        *_times(settings, services, usual_visibility_timeout_s(services), RESULT_EXPIRES_S),
        *(ports or []),
    ]


def _catalogue(settings: Settings, environ: Mapping[str, str]) -> tuple[Catalogue | None, list[Finding]]:
    if settings.config is None:
        none = Finding(
            level=Level.WARNING,
            what="catalogue",
            found="none; a producer can do without, a worker cannot",
            cure="set GATEWAY_CONFIG",
        )
        return None, [none]
    try:
        catalogue = Catalogue.load(settings.config, environ)
    except CatalogueError as error:
        return None, [Finding(level=Level.ERROR, what="catalogue", found=problem) for problem in error.problems]
    count = len(catalogue.services)
    read = Finding(
        level=Level.OK, what="catalogue", found=f"{count} service{'' if count == 1 else 's'} in {catalogue.path}"
    )
    return catalogue, [read, *check_catalogue(catalogue)]


def _times(
    settings: Settings, services: Sequence[Service], visibility_timeout_s: float, result_expires_s: float
) -> Iterator[Finding]:
    """What must outlast what."""
    if not settings.broker_is_amqp:
        yield from check_visibility(services, visibility_timeout_s)
    yield from check_expiry(result_expires_s)
