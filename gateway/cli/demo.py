"""`gateway demo`: starts everything, makes calls with good and bad outcomes, shows them and stops everything."""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.dev.demo import ENQUEUED, STEPS, Demo
from gateway.dev.demo_row import Row
from gateway.dev.demo_table import make_table
from gateway.dev.interrupts import Interrupted, Interrupts
from gateway.dev.process import ProcessError
from gateway.dev.stack import Stack, StackError

__all__ = ["demo"]

_FLOWER_S = 5.0


@click.command()
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write the rows there, as JSON.")
@click.option("--rabbitmq", is_flag=True, help="Carry the calls on a RabbitMQ, started from the system's packages.")
def demo(json_path: Path | None, rabbitmq: bool) -> None:
    """Show the gateway at work: three protocols, good and bad outcomes, 200 calls at once.

    Starts Valkey, a user service, one worker and Flower on free ports, and stops them. Exits 0 if every call ended as
    it should.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        # A log file or a pipe has no width; a table that is cut tells nothing.
        console = Console(highlight=False, width=160)
    stack: Stack | None = None
    try:
        with Interrupts() as interrupts:
            stack = Stack(interrupts=interrupts, rabbitmq=rabbitmq)
            rows = _run(stack, console)
    except Interrupted as interrupted:
        console.print(f"Interrupted ({interrupted}). Everything that was started has been stopped.")
        sys.exit(interrupted.exit_code)
    except (ProcessError, StackError, OSError) as error:
        console.print(f"The demo failed: {error}", style="red", markup=False)
        sys.exit(1)
    finally:
        if stack is not None and stack.kept:
            console.print(f"Everything has been stopped. All logs: {stack.folder}", markup=False)
    if json_path is not None:
        json_path.write_text(json.dumps([row.to_json() for row in rows], indent=2) + "\n", encoding="utf-8")
    wrong = [row for row in rows if not row.expected]
    for row in wrong:
        console.print(f"✗ {row.protocol} {row.title}: {row.outcome} {row.said}", style="red", markup=False)
    if wrong:
        console.print(f"{len(wrong)} of {len(rows)} outcomes were not the expected ones.", style="bold red")
        sys.exit(1)
    console.print(
        f"All {len(rows)} outcomes were the expected ones. To look around in Flower and make calls yourself: make dev"
    )


def _run(stack: Stack, console: Console) -> list[Row]:
    with console.status("Starting Valkey, the user service, a worker and Flower …"):
        started = time.monotonic()
        stack.start()
    try:
        console.print(f"Started {', '.join(process.name for process in stack.processes)}", end="")
        console.print(f" in {time.monotonic() - started:.1f} s. Flower: {stack.flower.url}")
        rows = _calls(stack, console)
        console.print(make_table(rows))
        console.print(rows[-1].said + ".")
        seen = _flower_saw(stack)
        states = Counter(task["state"] for task in seen)
        console.print(
            f"Flower shows {len(seen)} of {ENQUEUED} calls: {states['SUCCESS']} replies, {states['FAILURE']} errors."
        )
        if len(seen) != ENQUEUED:
            raise StackError(f"Flower shows {len(seen)} of {ENQUEUED} calls")
    except BaseException as error:
        stack.stop(keep=not isinstance(error, KeyboardInterrupt))
        raise
    stack.stop()
    console.print("Stopped everything.")
    return rows


def _calls(stack: Stack, console: Console) -> list[Row]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[last]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("Calling", total=STEPS, last="")

        def done(row: Row | None) -> None:
            last = "200 at once" if row is None else f"{row.protocol} {row.title}: {row.outcome}"
            progress.update(bar, advance=1, last=last[:70])

        return asyncio.run(Demo(stack, done).run())


def _flower_saw(stack: Stack) -> list[dict[str, Any]]:
    """What operators see. The events come a moment after the replies."""
    ends = time.monotonic() + _FLOWER_S
    while len(tasks := stack.flower.finished()) < ENQUEUED and time.monotonic() < ends:
        time.sleep(0.1)
    return tasks
