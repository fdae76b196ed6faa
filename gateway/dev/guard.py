"""Cleans up after a parent that was killed: a process of its own that ends what the parent started and left behind.

The parent holds one end of a pipe. When it ends, however it ends, the pipe closes, and what it has not released by then
is killed (process groups) or removed (folders). That works on every POSIX system, for grandchildren too, and does not
depend on which thread started a child, as Linux' parent-death signal does.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Self

__all__ = ["Guard"]


class Guard:
    """The parent's side."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen(  # noqa: S603 - this file, by this interpreter
            # Isolated and by its path: it must not import the package, nor what is in the current folder.
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def watch(self, what: int | Path) -> None:
        """Clean it up, should the parent end: a process group by its id, or a folder."""
        self._tell("+", what)

    def release(self, what: int | Path) -> None:
        """It is gone already, or is to stay."""
        self._tell("-", what)

    def close(self) -> None:
        """Clean up what was not released, and end."""
        stdin: IO[bytes] | None = self._popen.stdin
        if stdin is not None and not stdin.closed:
            stdin.close()
        self._popen.wait(timeout=20)

    def _tell(self, sign: str, what: int | Path) -> None:
        if self._popen.stdin is not None and not self._popen.stdin.closed:
            try:
                self._popen.stdin.write(os.fsencode(f"{sign}{what}\n"))
                self._popen.stdin.flush()
            except BrokenPipeError:
                pass  # somebody killed the guard; the parent's own clean-up is not affected

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _watch() -> None:
    """The guard's side: keep the list until the pipe closes, then clean up, newest first."""
    left: dict[str, None] = {}
    for line in sys.stdin:
        sign, what = line[0], line[1:].rstrip("\n")
        if sign == "+":
            left[what] = None
        else:
            left.pop(what, None)
    for what in reversed(left):
        if what.isdigit():
            # Nothing to save: the data of a development stack goes with it.
            try:
                os.killpg(int(what), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
    for what in left:
        if not what.isdigit():
            shutil.rmtree(what, ignore_errors=True)


if __name__ == "__main__":
    _watch()
