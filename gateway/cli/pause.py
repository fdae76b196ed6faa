"""`gateway pause` and `gateway resume`: nobody calls a service for a while, and no call is lost by it."""

import click

from gateway.cli.fleet_access import by_hand, check_service, open_fleet
from gateway.cli.glance import one_line, seconds
from gateway.cli.since import Since

__all__ = ["pause", "resume"]


@click.command()
@click.argument("service")
@click.option("--for", "for_s", type=Since(), default=None, help="Resume it by itself after 90s, 30m, 6h, 2d.")
@click.option("--reason", default="", help="Why, for those who look at it later.")
def pause(service: str, for_s: float | None, reason: str) -> None:
    """Begin no call of SERVICE in the whole fleet until it is resumed.

    Attempts that are under way end. All other calls wait outside the workers; their deadlines go on, and one whose
    deadline comes first ends with a ServiceUnavailableError. The breaker stays as it is.
    """
    with open_fleet() as fleet:
        check_service(fleet, service)
        fleet.pause(service, by=by_hand(), reason=one_line(reason), for_s=for_s)
    until = f"`gateway resume {service}`" if for_s is None else f"{seconds(for_s)} have passed, or `gateway resume`"
    click.echo(f"{service}: paused until {until}; its calls wait until their deadlines")


@click.command()
@click.argument("service")
def resume(service: str) -> None:
    """Let calls of SERVICE go on; what waits comes back little by little."""
    with open_fleet() as fleet:
        check_service(fleet, service)
        was_paused = fleet.resume(service, by=by_hand())
    click.echo(f"{service}: " + ("resumed; what waits comes back little by little" if was_paused else "was not paused"))
