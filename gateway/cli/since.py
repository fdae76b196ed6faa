"""An option that says how long ago: 90s, 30m, 6h, 2d."""

import re
from typing import Any

import click

__all__ = ["Since"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Since(click.ParamType):  # type: ignore[type-arg] # not generic in older versions of click
    """Seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """What is written, in seconds."""
        found = re.fullmatch(r"(\d{1,6})([smhd])", str(value))
        if not found or not int(found[1]):
            self.fail(f"{value!r} is not a time; write 90s, 30m, 6h or 2d", param, ctx)
        return float(found[1]) * _UNITS[found[2]]
