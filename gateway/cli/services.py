"""`gateway services`: what the catalogue has, and how its services are."""

import json
import os
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.catalogue import Catalogue, CatalogueError
from gateway.cli.glance import PHASE_COLOURS, Glance, breaker_words, counted, open_catalogue, seconds, state_json
from gateway.fleet_state import ServiceState
from gateway.policy import Policy
from gateway.service import Service

__all__ = ["address", "services"]


@click.command()
@click.option(
    "--config", type=click.Path(dir_okay=False), default=None, help="The catalogue; GATEWAY_CONFIG by default."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def services(config: str | None, as_json: bool) -> None:
    """List the services of the catalogue: where they are, how patient the gateway is with them, and how they are now.

    Addresses are shown as they are written where the environment does not have all of them.
    """
    try:
        catalogue = open_catalogue(config or os.environ.get("GATEWAY_CONFIG") or "gateway.toml")
    except CatalogueError as error:
        raise click.ClickException(str(error)) from None
    glance = Glance.at(catalogue.services)
    if as_json:
        click.echo(json.dumps(_json(catalogue, glance), indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    console.print(_catalogue(catalogue))
    if glance.unknown:
        console.print(f"state unknown: {escape(glance.unknown)}")
    elif glance.states:
        console.print(_state(catalogue, glance))


def _json(catalogue: Catalogue, glance: Glance) -> dict[str, Any]:
    return {
        "catalogue": catalogue.path,
        "state_unknown": glance.unknown or None,
        "services": {
            name: {
                "addresses": {protocol: address(service, protocol) for protocol in service.protocols},
                "secret": None if service.auth is None else service.auth.references[0],
                "timeouts": {
                    bound: getattr(service.policy.timeouts, bound)
                    for bound in ("total", "attempt", "connect", "pool", "read")
                },
                "state": state_json(glance.states[name], service.policy) if name in glance.states else None,
            }
            for name, service in catalogue.services.items()
        },
    }


def _catalogue(catalogue: Catalogue) -> Table:
    table = Table(
        title=escape(f"{counted(len(catalogue.services), 'service')} in {catalogue.path}"),
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
            f"[bold]{service.name}[/]\n{'no secret' if service.auth is None else escape(service.auth.references[0])}",
            escape("\n".join(f"{protocol} {address(service, protocol)}" for protocol in service.protocols)),
            "/".join(f"{bound:g}" for bound in (timeouts.total, timeouts.attempt, timeouts.connect, timeouts.pool)),
        )
    return table


def _state(catalogue: Catalogue, glance: Glance) -> Table:
    table = Table(
        title="now, in the whole fleet",
        caption="in flight: attempts, of as many as may be; retries: that can be paid; parked: waiting calls",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("service", overflow="fold", min_width=12)
    table.add_column("breaker", overflow="fold", min_width=12)
    table.add_column("in flight", no_wrap=True, justify="right")
    table.add_column("rate", overflow="fold", min_width=8)
    table.add_column("retries", no_wrap=True, justify="right")
    table.add_column("parked", no_wrap=True, justify="right")
    for name, service in catalogue.services.items():
        state, policy = glance.states[name], service.policy
        colour = "magenta" if state.pause else PHASE_COLOURS.get(state.breaker.phase, "red")
        table.add_row(
            f"[bold]{name}[/]",
            f"[{colour}]{escape(breaker_words(state, policy))}[/]",
            f"{state.limit.in_flight}/{state.limit.concurrency(policy.limit)}",
            _rate(state, policy),
            f"{state.budget.tokens_at(state.now, policy.retry):.0f}",
            str(state.parked),
        )
    return table


def _rate(state: ServiceState, policy: Policy) -> str:
    rate = policy.limit.rate or "no limit"
    return f"{rate}, [red]blocked {seconds(state.blocked_s)}[/]" if state.blocked_s else rate


def address(service: Service, protocol: str) -> str:
    """Where a service is, for one protocol."""
    if protocol == "grpc" and service.grpc is not None:
        return service.grpc.target
    endpoint = service.rest if protocol == "rest" else service.graphql
    return "" if endpoint is None else endpoint.url
