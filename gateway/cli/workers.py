"""`gateway workers` and `gateway drain`: who works, and who is to end."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from difflib import get_close_matches

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.broker import close_app, make_app
from gateway.cli.glance import seconds
from gateway.errors import GatewayUnavailableError
from gateway.settings import Settings, SettingsError
from gateway.worker_control import WorkerControl

__all__ = ["drain", "workers"]

#: Seconds that workers have to answer.
_ASKED_S = 1.5


@contextmanager
def _control() -> Iterator[WorkerControl]:
    try:
        app = make_app(Settings.from_env())
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    try:
        yield WorkerControl(app)
    except GatewayUnavailableError as error:
        raise click.ClickException(f"{error.message}; start it, or correct GATEWAY_BROKER_URL") from None
    finally:
        close_app(app)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def workers(as_json: bool) -> None:
    """List the workers that answer: how many calls each executes, of how many, and since when it is up."""
    with _control() as control:
        seen = control.ask(_ASKED_S)
    if as_json:
        click.echo(json.dumps({name: asdict(worker) for name, worker in seen.items()}, indent=2))
        return
    if not seen:
        raise click.ClickException("no worker answers; start one with `gateway worker`, or look at its log")
    table = Table("worker", "pid", "in flight", "waiting", "up", box=box.SIMPLE_HEAD, pad_edge=False)
    for worker in seen.values():
        table.add_row(
            escape(worker.name),
            str(worker.pid),
            f"{worker.in_flight}/{worker.places}",
            str(worker.waiting),
            seconds(worker.up_s),
        )
    Console(highlight=False).print(table)


@click.command()
@click.argument("worker")
def drain(worker: str) -> None:
    """Have WORKER finish the calls that it executes, give the others back, and end, as SIGTERM does.

    Whatever starts workers may start it again.
    """
    with _control() as control:
        known = list(control.ask(_ASKED_S))
        if worker not in known:
            near = get_close_matches(worker, known, n=1)
            cure = (
                f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}" if known else "none answers"
            )
            raise click.ClickException(f"no worker {worker!r} answers; {cure}")
        control.drain(worker)
    click.echo(f"{worker}: takes no more calls, and ends when those that it executes have their outcomes")
