"""`gateway services`: what the catalogue has."""

import os

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.catalogue import Catalogue, CatalogueError
from gateway.service import Service

__all__ = ["address", "services"]


@click.command()
@click.option(
    "--config", type=click.Path(dir_okay=False), default=None, help="The catalogue; GATEWAY_CONFIG by default."
)
def services(config: str | None) -> None:
    """List the services of the catalogue: where they are, and how patient the gateway is with them.

    Addresses are shown as they are written where the environment does not have all of them.
    """
    catalogue = _load(config or os.environ.get("GATEWAY_CONFIG") or "gateway.toml")
    table = Table(
        title=escape(f"{len(catalogue.services)} services in {catalogue.path}"),
        caption="bounds: total/attempt/connect/pool, in seconds",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("service and its secret", overflow="fold", min_width=22, max_width=30)
    table.add_column("addresses", overflow="fold")
    table.add_column("bounds", no_wrap=True)
    for service in catalogue.services.values():
        timeouts = service.policy.timeouts
        table.add_row(
            f"[bold]{service.name}[/]\n{'no secret' if service.auth is None else escape(service.auth.secret)}",
            escape("\n".join(f"{protocol} {address(service, protocol)}" for protocol in service.protocols)),
            "/".join(f"{bound:g}" for bound in (timeouts.total, timeouts.attempt, timeouts.connect, timeouts.pool)),
        )
    Console().print(table)


def _load(path: str) -> Catalogue:
    try:
        return Catalogue.load(path, os.environ)
    except CatalogueError:
        pass
    try:
        return Catalogue.load(path)
    except CatalogueError as error:
        raise click.ClickException(str(error)) from None


def address(service: Service, protocol: str) -> str:
    """Where a service is, for one protocol."""
    if protocol == "grpc" and service.grpc is not None:
        return service.grpc.target
    endpoint = service.rest if protocol == "rest" else service.graphql
    return "" if endpoint is None else endpoint.url
