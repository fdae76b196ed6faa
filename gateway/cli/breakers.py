"""`gateway breakers`: what the circuit breakers of the fleet do, and to open and close them by hand."""

import json

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.cli.fleet_access import by_hand, catalogue_path, catalogued, check_service, open_fleet
from gateway.cli.glance import PHASE_COLOURS, breaker_json, counted, one_line, seconds
from gateway.fleet_state import BreakerState, ServiceState

__all__ = ["breakers"]

_BY_URGENCY = ("open", "half-open", "closed")

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(invoke_without_command=True)
@_as_json
@click.pass_context
def breakers(context: click.Context, as_json: bool) -> None:
    """List the circuit breakers of all services, or open, close and reset one by hand.

    What is done here acts on the next attempt of every worker. The catalogue adds the names of services that were never
    called, and is not needed.
    """
    if context.invoked_subcommand is None:
        _show(as_json)


@breakers.command("list")
@_as_json
def list_(as_json: bool) -> None:
    """List the breakers; the same as without a command."""
    _show(as_json)


@breakers.command("open")
@click.argument("service")
@click.option("--reason", default="", help="Why, for those who look at it later.")
def open_(service: str, reason: str) -> None:
    """Let no call to SERVICE through until somebody closes it.

    Calls wait outside the workers until their deadlines.
    """
    with open_fleet() as fleet:
        check_service(fleet, service)
        if service in _switched_off():
            raise click.ClickException(
                f"{service} has no breaker (breaker.enabled = false in {catalogue_path()}); leave that out, start the"
                " workers again"
            )
        fleet.open_breaker(service, by=by_hand(), reason=one_line(reason))
    click.echo(f"{service}: open until `gateway breakers close {service}`; its calls wait until their deadlines")


@breakers.command()
@click.argument("service")
def close(service: str) -> None:
    """Let calls to SERVICE through again.

    What waits comes back as a ramp. The breaker opens again by itself if the service still fails.
    """
    with open_fleet() as fleet:
        check_service(fleet, service)
        fleet.close_breaker(service, by=by_hand())
    click.echo(f"{service}: closed; what waits comes back little by little")


@breakers.command()
@click.argument("service")
def reset(service: str) -> None:
    """Forget everything about SERVICE's breaker, as if the service had never been called."""
    with open_fleet() as fleet:
        check_service(fleet, service)
        fleet.reset_breaker(service)
    click.echo(f"{service}: closed, and what was learned about it is forgotten")


def _switched_off() -> set[str]:
    """Services whose workers do not ask their breakers."""
    return {name for name, service in catalogued().items() if not service.policy.breaker.enabled}


def _show(as_json: bool) -> None:
    with open_fleet() as fleet:
        states = fleet.states({*fleet.services(), *catalogued()})
    off = _switched_off()
    ordered = sorted(states.values(), key=lambda state: (state.name in off, _urgency(state.breaker), state.name))
    if as_json:
        shown = {
            state.name: {"enabled": state.name not in off, **breaker_json(state.breaker, state.now)}
            for state in ordered
        }
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    if not ordered:
        click.echo("No service was ever called, and there is no catalogue: no breakers.")
        return
    Console(highlight=False).print(_table(ordered, off))


def _urgency(breaker: BreakerState) -> int:
    return _BY_URGENCY.index(breaker.phase) if breaker.phase in _BY_URGENCY else 0


def _table(states: list[ServiceState], off: set[str]) -> Table:
    table = Table(
        title=counted(len(states), "breaker"),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("service", overflow="fold", min_width=12)
    table.add_column("phase", no_wrap=True)
    table.add_column("since", no_wrap=True, justify="right")
    table.add_column("probes", no_wrap=True)
    table.add_column("trips", no_wrap=True, justify="right")
    table.add_column("reason, and who", overflow="fold", min_width=16)
    for state in states:
        breaker = state.breaker
        colour = PHASE_COLOURS.get(breaker.phase, "red")
        who = [one_line(said) for said in (breaker.reason, breaker.by) if said]
        table.add_row(
            f"[bold]{escape(one_line(state.name))}[/]",
            "off" if state.name in off else f"[{colour}]{escape(breaker.phase)}[/]",
            _since(state),
            _probes(state),
            str(breaker.trips),
            escape("\n".join(who)),
            style=None if breaker.phase != "closed" or breaker.epoch else "dim",
        )
    return table


def _since(state: ServiceState) -> str:
    breaker = state.breaker
    since = breaker.closed_at if breaker.phase == "closed" else breaker.opened_at
    return "" if since is None else seconds(max(0.0, state.now - since))


def _probes(state: ServiceState) -> str:
    """When an open one lets probes through, and what came of those of a half-open one."""
    breaker = state.breaker
    if breaker.by_hand:
        return "by hand"
    if breaker.phase == "open":
        left = (breaker.until or 0.0) - state.now
        return f"in {seconds(left)}" if left > 0 else "due"
    return f"{breaker.successes} of {breaker.granted} good" if breaker.phase == "half-open" else ""
