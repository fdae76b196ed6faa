"""`gateway top`: the fleet, live in a terminal."""

import os
from importlib.util import find_spec

import click
from rich.console import Console

from gateway.catalogue import CatalogueError
from gateway.cli.fleet_access import by_hand
from gateway.cli.fleet_watch import FleetWatch
from gateway.cli.glance import open_catalogue
from gateway.cli.top_rows import snapshot_json, snapshot_table
from gateway.settings import Settings, SettingsError

__all__ = ["top"]


@click.command()
@click.option(
    "--config", type=click.Path(dir_okay=False), default=None, help="The catalogue; GATEWAY_CONFIG by default."
)
@click.option("--once", is_flag=True, help="Print what it is now, and end.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def top(config: str | None, once: bool, as_json: bool) -> None:
    """Watch services, breakers, limits, queues, parked and dead calls, and workers; act on breakers and workers.

    Keys are shown at the bottom; ? explains them.
    """
    try:
        settings = Settings.from_env()
        catalogue = open_catalogue(config or os.environ.get("GATEWAY_CONFIG") or "gateway.toml")
    except (SettingsError, CatalogueError) as error:
        raise click.ClickException(str(error)) from None
    watch = FleetWatch(settings, catalogue)
    try:
        if once or as_json:
            seen = watch.look(workers=True)
            if seen.unknown:
                raise click.ClickException(seen.unknown)
            if as_json:
                click.echo(snapshot_json(seen, catalogue))
            else:
                Console(highlight=False).print(snapshot_table(seen, catalogue))
            return
        if find_spec("textual") is None:
            raise click.ClickException(
                "the live view needs textual; pip install 'call-gateway[top]', or use gateway top --once"
            )
        from gateway.cli.top_app import TopApp

        TopApp(watch, catalogue, by=by_hand()).run()
    finally:
        watch.close()
