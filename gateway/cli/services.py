"""`gateway services`: what the catalogue has."""

import os

import click
from rich.console import Console
from rich.table import Table

from gateway.catalogue import Catalogue, CatalogueError
from gateway.service import Service
from gateway.settings import Settings, SettingsError

__all__ = ["services"]


@click.command()
@click.option(
    "--config", type=click.Path(dir_okay=False), default=None, help="The catalogue; GATEWAY_CONFIG by default."
)
def services(config: str | None) -> None:
    """List the services of the catalogue: where they are, and how patient the gateway is with them."""
    catalogue = load_catalogue(config)
    table = Table(title=f"{len(catalogue.services)} services in {catalogue.path}")
    for column in ("service", "protocol"):
        table.add_column(column, no_wrap=True)
    for column in ("address", "auth", "total/attempt/connect/pool s"):
        table.add_column(column, overflow="fold")
    for service in catalogue.services.values():
        timeouts = service.policy.timeouts
        for protocol in service.protocols:
            table.add_row(
                service.name,
                protocol,
                address(service, protocol),
                "none" if service.auth is None else f"{service.auth.type} {service.auth.secret}",
                "/".join(f"{bound:g}" for bound in (timeouts.total, timeouts.attempt, timeouts.connect, timeouts.pool)),
            )
    Console().print(table)


def load_catalogue(config: str | None, *, resolve: bool = False) -> Catalogue:
    """The catalogue that a command works on.

    Raises:
        click.ClickException: there is none, or it is wrong.
    """
    path = config or os.environ.get("GATEWAY_CONFIG") or "gateway.toml"
    try:
        return Catalogue.load(path, os.environ if resolve else None)
    except CatalogueError as error:
        raise click.ClickException(str(error)) from None


def load_settings() -> Settings:
    """The settings that a command works with.

    Raises:
        click.ClickException: the environment is wrong.
    """
    try:
        return Settings.from_env()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


def address(service: Service, protocol: str) -> str:
    """Where a service is, for one protocol."""
    if protocol == "grpc" and service.grpc is not None:
        return service.grpc.target
    endpoint = service.rest if protocol == "rest" else service.graphql
    return "" if endpoint is None else endpoint.url
