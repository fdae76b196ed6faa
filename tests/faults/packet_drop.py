"""A link on which every packet is dropped, without a word to either side."""

import os
import shutil
import subprocess
from types import TracebackType
from typing import Self
from uuid import uuid4

import pytest

__all__ = ["PacketDrop"]


class PacketDrop:
    """A rule of the kernel's packet filter, for the time of the block.

    The table belongs to the process that made it: should this process be killed, that one ends with its input, and the
    kernel removes the table.

    Args:
        port: of the loopback interface, to which nothing comes any more.
    """

    def __init__(self, port: int) -> None:
        nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if nft is None or os.geteuid() != 0:
            pytest.skip("packets cannot be dropped here: that takes root, and nftables' `nft`")
        table = f"inet gateway_{uuid4().hex[:12]}"
        self._rules = (
            f"add table {table} {{ flags owner; }}\n"
            f"add chain {table} drops {{ type filter hook input priority 0; policy accept; }}\n"
            f'add rule {table} drops iif "lo" tcp dport {port} counter drop\n'
            f"list table {table}\n"
        )
        self._nft = subprocess.Popen(
            [nft, "-i"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def __enter__(self) -> Self:
        assert self._nft.stdin is not None
        assert self._nft.stdout is not None
        self._nft.stdin.write(self._rules)
        self._nft.stdin.flush()
        said = ""
        while "counter" not in said:
            line = self._nft.stdout.readline()
            said += line
            if not line or "Error" in line:
                self._end()
                pytest.skip(f"packets cannot be dropped here: {' '.join(said.split())}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._nft.stdin is not None
        assert self._nft.stdout is not None
        self._nft.stdin.close()
        self._nft.wait(10)
        self._nft.stdout.close()
