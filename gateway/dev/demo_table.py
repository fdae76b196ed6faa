"""The demo's table, as people read it."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from gateway.dev.demo_row import Row

__all__ = ["make_table"]


def make_table(rows: Sequence[Row]) -> Table:
    """A table of all calls; what was not expected is marked."""
    table = Table(title="Calls and what came of them", title_justify="left", header_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("call", overflow="fold")
    table.add_column("protocol", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("attempts", justify="right")
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("correlation id", no_wrap=True)
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
