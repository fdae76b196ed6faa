"""What a worker needs and the catalogue names, service by service: secrets, certificates, interceptors, descriptors.

`python -m workers.check` prints what is wrong as JSON, a list of pairs: where in the catalogue, and one line with the
cure. A worker looks at the same when it starts, and stops at the first; `gateway doctor` shows all.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping

import msgspec

from gateway.catalogue import Catalogue
from gateway.clock import FleetClock
from gateway.log_guard import LogGuard
from gateway.redaction import SECRETS
from gateway.sealing import Unsealer
from gateway.service import Service
from gateway.settings import Settings
from workers.callers import Callers
from workers.connections import Connections
from workers.exchange import scheme_of
from workers.interceptor import Interception
from workers.transports.tls import Certificates

__all__ = ["problems"]


def problems(catalogue: Catalogue, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Key of the catalogue and one line for each thing that cannot be had."""

    def secret(service: Service) -> None:
        if service.auth is not None:
            scheme_of(service, service.auth, environ)

    def interceptors(service: Service) -> None:
        Interception(service.name, service.interceptors)

    def tls(service: Service) -> None:
        if service.tls is not None:
            Certificates(service.name, service.tls)

    def descriptors(service: Service) -> None:
        without = msgspec.structs.replace(service, tls=None)  # what is wrong with it is said once
        Connections(msgspec.structs.replace(catalogue, services={service.name: without}))

    looks: dict[str, Callable[[Service], None]] = {
        "auth": secret,
        "interceptors": interceptors,
        "tls": tls,
        "grpc": descriptors,
    }
    shared: dict[str, Callable[[], object]] = {
        "callers": lambda: Callers(catalogue, environ, FleetClock()),
        "sealing.private": lambda: Unsealer(catalogue.sealing.private, environ),
    }
    for key, make in shared.items():
        try:
            make()
        except ValueError as error:
            yield key, str(error)
    for name, service in catalogue.services.items():
        for key, look in looks.items():
            try:
                look(service)
            except ValueError as error:
                yield f"services.{name}.{key}", str(error)


def main() -> None:
    """Look at the catalogue of the environment. Whoever started this prints what it says, and knows no secrets."""
    LogGuard(SECRETS).install()
    settings = Settings.from_env()
    found = [] if settings.config is None else list(problems(Catalogue.load(settings.config, os.environ), os.environ))
    json.dump([(key, SECRETS.line(said)) for key, said in found], sys.stdout)


if __name__ == "__main__":
    main()
