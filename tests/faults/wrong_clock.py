"""A clock that is wrong for some processes."""

from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["WrongClock"]

_LIBRARY = "faketime/libfaketimeMT.so.1"


class WrongClock:
    """The wall clock of the processes that get its environment; what is monotonic stays so.

    Args:
        folder: takes the file that says how wrong it is.
    """

    def __init__(self, folder: Path) -> None:
        libraries = sorted(Path("/usr/lib").glob(f"*/{_LIBRARY}")) or sorted(Path("/usr/lib").glob(_LIBRARY))
        if not libraries:
            pytest.skip("no clock can be set wrong here: `apt-get install libfaketime`")
        self._library = libraries[0]
        self._file = folder / "clock"
        self.jump(0)

    def jump(self, offset_s: int) -> None:
        """Be so wrong from now on."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{offset_s:+d}\n")
        part.rename(self._file)

    @property
    def environment(self) -> Mapping[str, str]:
        """Of a process that believes it."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "TZ": "UTC",
        }
