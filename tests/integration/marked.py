"""The processes that a test started, and theirs, however deep: found by a mark in their environment."""

import os
import signal
import time
from pathlib import Path

__all__ = ["Marked"]


class Marked:
    """Processes that inherited `TMPDIR` from a test.

    Args:
        folder: a folder of the test's own; it is the mark, and takes what the processes leave behind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = f"TMPDIR={folder}".encode()

    def environ(self, **more: str) -> dict[str, str]:
        """The environment to start them with: without this process's gateway, celery and flower settings."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "FLOWER_"))}
        return {**inherited, "TMPDIR": str(self.folder), **more}

    def running(self) -> dict[int, str]:
        """Process id → command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if self._is_marked(entry):
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:  # it ended meanwhile
                    continue
        return found

    def _is_marked(self, entry: Path) -> bool:
        # A server that shows a title of its own writes it over its environment; its folder tells.
        here = (entry / "cwd").readlink().is_relative_to(self.folder)
        return here or self._mark in (entry / "environ").read_bytes().split(b"\0")

    def one(self, *words: str) -> int | None:
        """The process whose command line has all the words."""
        return next((pid for pid, line in self.running().items() if all(word in line for word in words)), None)

    def gone_within(self, seconds: float) -> bool:
        """Whether all have ended by then."""
        ends = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > ends:
                return False
            time.sleep(0.05)
        return True

    def left_folders(self) -> list[str]:
        """Folders of stacks that are still there."""
        return [path.name for path in self.folder.glob("call-gateway-*")]

    def end(self) -> None:
        """Kill what is left, so that a failed test leaves nothing."""
        for pid in self.running():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
