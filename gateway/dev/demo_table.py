"""The demo's table, as people read it."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from gateway.dev.demo_row import Row

__all__ = ["make_table"]


def make_table(rows: Sequence[Row]) -> Table:
    """A table of all calls; what was not expected is marked."""
    table = Table(title="Calls and what came of them", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    table.add_column("call", ratio=1)
    # On a narrow terminal they break into lines: an error's name that is cut would tell nothing.
    table.add_column("protocol", overflow="fold")
    table.add_column("outcome", overflow="fold")
    table.add_column("status", overflow="fold")
    table.add_column("attempts", justify="right")
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("correlation id", overflow="fold")
    for row in rows:
        style = "green" if row.outcome == "reply" else "yellow"
        table.add_row(
            Text("✓", "green") if row.expected else Text("✗ UNEXPECTED", "bold red"),
            Text(row.title),
            row.protocol,
            Text(row.outcome, style if row.expected else "bold red"),
            "-" if row.status is None else str(row.status),
            str(row.attempts) if row.attempts else "-",
            f"{row.elapsed_s * 1000:,.0f}",
            row.correlation_id or "refused at submit",
        )
    return table
