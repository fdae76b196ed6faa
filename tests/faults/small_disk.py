"""A disk that is soon full."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["SmallDisk", "fill"]


class SmallDisk:
    """A file system of a few megabytes in memory. It is mounted for a moment only, see `detach`.

    Args:
        folder: an empty one, at which it is mounted.
        megabytes: how many fit.
    """

    def __init__(self, folder: Path, *, megabytes: int) -> None:
        self.folder = folder
        mount = shutil.which("mount")
        if mount is None or os.geteuid() != 0:
            pytest.skip("a small disk cannot be mounted here: that takes root, and `mount`")
        argv = [mount, "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(folder)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")

    def detach(self) -> None:
        """Take it out of the tree of files; a process that works in it keeps it, and it is gone with that process."""
        argv = [shutil.which("umount") or "umount", "--lazy", str(self.folder)]
        subprocess.run(argv, check=True, timeout=10)


def fill(folder: Path) -> Path:
    """Write a file until the disk is full; removing it ends that."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return ballast
