"""The one table at the end: every fault, what became of its calls, and whether all promises were kept."""

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.faults.matrix.verdict import Row

__all__ = ["ROWS", "draw"]

#: What was found, in order.
ROWS: list[Row] = []


def draw(rows: Sequence[Row]) -> str:
    """As text; a call that is lost, or was sent twice, cannot be overlooked."""
    table = Table(title="faults", title_justify="left")
    table.add_column("fault")
    table.add_column("broker")
    for name in ("accepted", "replies", "typed errors", "unknown", "lost", "sent twice", "attempts", "recovery s"):
        table.add_column(name, justify="right")
    table.add_column("took s", justify="right")
    table.add_column("promises")
    for row in rows:
        errors = [f"{count} {name.removesuffix('Error')}" for name, count in sorted(row.errors.items())]
        if row.refused:
            errors.append(f"{row.refused} at submit")
        recovery = "never" if row.recovery_s is None else f"{row.recovery_s:.1f}"
        table.add_row(
            *(row.fault, row.broker, str(row.accepted), str(row.replies), "\n".join(errors) or "0"),
            *(str(row.unknown), str(row.lost), str(row.twice), str(row.attempts), recovery, f"{row.took_s:.0f}"),
            "\n".join(row.broken) or "kept",
        )
    console = Console(file=io.StringIO(), width=200, markup=False)
    console.print(table)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()
