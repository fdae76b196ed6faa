"""`gateway callers`: who may call what, and what was refused."""

import json
import os
from collections.abc import Sequence

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.catalogue import Catalogue, CatalogueError
from gateway.cli.glance import open_catalogue
from gateway.redis_client import ERRORS, open_sync
from gateway.rejected import NOBODY, Rejected, read_rejected
from gateway.settings import Settings, SettingsError

__all__ = ["callers"]


@click.command()
@click.option(
    "--config", type=click.Path(dir_okay=False), default=None, help="The catalogue; GATEWAY_CONFIG by default."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def callers(config: str | None, as_json: bool) -> None:
    """List the callers of the catalogue: where their keys are, what they may call, and how often they were refused."""
    try:
        catalogue = open_catalogue(config or os.environ.get("GATEWAY_CONFIG") or "gateway.toml")
    except CatalogueError as error:
        raise click.ClickException(str(error)) from None
    rejected, unknown = _rejected()
    if as_json:
        click.echo(json.dumps(_json(catalogue, rejected, unknown), indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    if not catalogue.callers:
        console.print("[red]No caller is configured:[/] whoever reaches the broker may call everything.")
    console.print(_table(catalogue, rejected))
    if unknown:
        console.print(f"refused calls unknown: {escape(unknown)}")


def _rejected() -> tuple[list[Rejected], str]:
    """What was refused, or why that is not known."""
    try:
        with open_sync(Settings.from_env().result_url) as client:
            return read_rejected(client), ""
    except SettingsError as error:
        return [], str(error)
    except ERRORS as error:
        return [], f"the result store does not answer ({type(error).__name__})"


def _json(catalogue: Catalogue, rejected: Sequence[Rejected], unknown: str) -> dict[str, object]:
    return {
        "catalogue": catalogue.path,
        "callers": {
            name: {"keys": caller.references, "allow": caller.allow} for name, caller in catalogue.callers.items()
        },
        "rejected": [entry._asdict() for entry in rejected],
        "rejected_unknown": unknown or None,
    }


def _table(catalogue: Catalogue, rejected: Sequence[Rejected]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=escape(f"callers in {catalogue.path}"))
    for heading in ("caller", "keys", "may call", "refused"):
        table.add_column(heading, overflow="fold")
    for name, caller in catalogue.callers.items():
        allowed = "\n".join(caller.allow) or "nothing"
        table.add_row(escape(name), escape("\n".join(caller.references)), escape(allowed), _refused(name, rejected))
    if others := _refused(NOBODY, rejected):
        table.add_row("[dim]nobody known[/]", "", "nothing" if catalogue.callers else "everything", others)
    return table


def _refused(caller: str, rejected: Sequence[Rejected]) -> str:
    return "\n".join(f"{entry.calls} {escape(entry.reason)}" for entry in rejected if entry.caller == caller)
