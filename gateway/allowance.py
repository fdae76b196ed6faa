"""Whether a caller may make a call, and which line of the catalogue says so."""

from dataclasses import dataclass
from typing import Any, Self

from gateway.catalogue import Catalogue
from gateway.permission import Permissions
from gateway.resolution import Resolution

__all__ = ["Allowance"]


@dataclass(frozen=True, slots=True)
class Allowance:
    """What `gateway explain --caller` says.

    Attributes:
        caller: its name.
        allowed: whether it may.
        words: by which line, or why not, and the cure.
    """

    caller: str
    allowed: bool
    words: str

    @classmethod
    def of(cls, catalogue: Catalogue, name: str, asked: Resolution) -> Self:
        """Of a caller for an operation."""
        if not catalogue.callers:
            return cls(name, True, "allowed, as everybody is: no caller is configured")
        caller = catalogue.callers.get(name)
        if caller is None:
            return cls(name, False, f"not allowed: there is no such caller; it has {', '.join(catalogue.callers)}")
        rule = Permissions(caller.allow).rule_for(asked.service.name, asked.operation)
        if rule is not None:
            return cls(name, True, f"allowed by callers.{name}.allow: {rule.line!r}")
        line = f"{asked.service.name} {asked.operation}"
        return cls(name, False, f"not allowed: no line of callers.{name}.allow does; add {line!r} to it")

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"name": self.caller, "allowed": self.allowed, "because": self.words}
