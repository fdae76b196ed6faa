"""What a check found, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level"]


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"

    WARNING = "warning"
    """It works, and something is at risk."""

    ERROR = "error"
    """A worker does not start with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `gateway doctor`.

    Attributes:
        level: how bad it is.
        what: was looked at.
        found: what is so; never a secret.
        cure: what to do; nothing if all is well.
    """

    level: Level
    what: str
    found: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.found}" + (f"; {self.cure}" if self.cure else "")
