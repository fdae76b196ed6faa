"""A bound on a process's memory, as an orchestrator sets it."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import pytest

__all__ = ["MemoryBound"]

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")


class MemoryBound:
    """A control group, removed at the end of the block. What a process has already is not counted.

    Args:
        more_kb: how much more a process may take before the kernel kills it.
    """

    def __init__(self, *, more_kb: int) -> None:
        v2 = (_V2 / "cgroup.controllers").exists()
        self._group = (_V2 if v2 else _V1) / f"gateway-test-{uuid4().hex[:12]}"
        limits = {"memory.max": more_kb, "memory.swap.max": 0} if v2 else {"memory.limit_in_bytes": more_kb}
        try:
            self._group.mkdir()
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        try:
            for name, kb in limits.items():
                (self._group / name).write_text(str(kb * 1024))
        except OSError as error:
            self.remove()
            pytest.skip(f"no bound on memory can be set here: {error}")

    def hold(self, pid: int) -> None:
        """Put a process in it."""
        (self._group / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Let go whatever is still in it."""
        for pid in (self._group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (self._group.parent / "cgroup.procs").write_text(pid)
        self._group.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()
