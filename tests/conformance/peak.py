"""How much memory something took at its highest, what C libraries allocate included."""

import re
from pathlib import Path
from typing import Self

__all__ = ["Peak"]

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class Peak:
    """The growth of this process's resident memory within a `with`, at its highest, as the kernel counts it (proc(5)).

    Attributes:
        bytes: the growth; 0 where the kernel does not tell, which is anywhere but on Linux.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._before = 0

    def __enter__(self) -> Self:
        if _RESET.exists():
            _RESET.write_text("5")
            self._before = _resident("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if _RESET.exists():
            self.bytes = _resident("VmHWM") - self._before


def _resident(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
