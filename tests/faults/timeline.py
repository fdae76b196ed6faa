"""An outage, second by second: as a table, and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from math import ceil
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.load import Sample
from tests.faults.watch import Watch
from tests.servers.counting import Arrival

__all__ = ["Second", "Timeline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """What happened in one second.

    Attributes:
        number: from 0.
        submitted, done: calls that producers submitted, and that ended.
        arrived, failed: requests at the service, and those of them that it failed.
        parked: calls outside the workers at its end.
        phases: of the breaker, in order.
    """

    number: int
    submitted: int
    arrived: int
    failed: int
    done: int
    parked: int
    phases: tuple[str, ...]


class Timeline:
    """Of one outage.

    Args:
        start: when the load began, on the monotonic clock.
        samples: its calls.
        arrivals: what the service saw.
        watch: what was seen in Redis.
    """

    def __init__(self, start: float, samples: Sequence[Sample], arrivals: Sequence[Arrival], watch: Watch) -> None:
        length = ceil(max(sample.ended for sample in samples) - start)
        self.seconds = [self._second(start, number, samples, arrivals, watch) for number in range(length)]

    @staticmethod
    def _second(
        start: float, number: int, samples: Sequence[Sample], arrivals: Sequence[Arrival], watch: Watch
    ) -> Second:
        begins, ends = start + number, start + number + 1
        arrived = [arrival for arrival in arrivals if begins <= arrival.at < ends]
        return Second(
            number=number,
            submitted=sum(begins <= sample.submitted < ends for sample in samples),
            arrived=len(arrived),
            failed=sum(arrival.status >= 500 for arrival in arrived),
            done=sum(begins <= sample.ended < ends for sample in samples),
            parked=watch.parked(ends),
            phases=tuple(watch.phases(begins, ends)),
        )

    def lines(self) -> list[str]:
        """The table, as lines of text."""
        table = Table("second", "submitted", "arrived", "failed", "done", "parked", "breaker")
        for second in self.seconds:
            numbers = (second.number, second.submitted, second.arrived, second.failed, second.done, second.parked)
            table.add_row(*map(str, numbers), " → ".join(second.phases))
        for column in table.columns[:-1]:
            column.justify = "right"
        text = StringIO()
        Console(file=text, width=120, color_system=None).print(table)
        return text.getvalue().splitlines()

    def draw(self, path: Path) -> None:
        """The picture, as SVG; nothing in it but the figures themselves changes from run to run.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        mpl: Any = import_module("matplotlib")
        mpl.use("Agg")
        pyplot: Any = import_module("matplotlib.pyplot")
        with mpl.rc_context({"svg.hashsalt": "outage", "svg.fonttype": "none", "font.family": "sans-serif"}):
            figure, (rates, waiting) = pyplot.subplots(2, 1, figsize=(9, 6), sharex=True, height_ratios=(3, 1))
            numbers = [second.number for second in self.seconds]
            for axes in (rates, waiting):
                self._shade(axes)
                axes.grid(visible=True, alpha=0.2)
            rates.step(numbers, [s.submitted for s in self.seconds], where="post", color="#888888", label="submitted")
            rates.step(numbers, [s.arrived for s in self.seconds], where="post", color="#1f77b4", label="arrived")
            rates.step(numbers, [s.failed for s in self.seconds], where="post", color="#d62728", label="failed")
            rates.step(numbers, [s.done for s in self.seconds], where="post", color="#2ca02c", label="done")
            rates.set_ylabel("a second")
            rates.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
            waiting.plot([number + 1 for number in numbers], [s.parked for s in self.seconds], color="#9467bd")
            waiting.set_ylabel("parked")
            waiting.set_xlabel("seconds (shaded: the breaker is not closed)")
            figure.tight_layout()
            figure.savefig(path, metadata={"Date": None, "Creator": None})
            pyplot.close(figure)

    def _shade(self, axes: Any) -> None:
        for second in self.seconds:
            if second.phases and second.phases != ("closed",):
                axes.axvspan(second.number, second.number + 1, color="#d62728", alpha=0.08, linewidth=0)
