"""A name server (RFC 1035) that knows one address, and can forget it."""

import contextlib
import errno
import random
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import pytest

__all__ = ["NameServer"]

Mood = Literal["answers", "nxdomain", "servfail", "silent"]

_CODES: dict[Mood, int] = {"answers": 0, "nxdomain": 3, "servfail": 2}
_A = b"\x00\x01"
#: The name of the question again, type A, class IN, 0 s to live, four bytes: 127.0.0.1.
_LOOPBACK = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x7f\x00\x00\x01"


class NameServer:
    """Answers over UDP at port 53 of a loopback address of its own: every name is this machine's.

    Attributes:
        mood: what it does with questions.
        asked: how many it had.
        failed: how many of them had no good answer.
    """

    def __init__(self) -> None:
        self.mood: Mood = "answers"
        self.asked = 0
        self.failed = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address = ""
        while not self.address:
            self._bind(f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(1, 255)}")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _bind(self, address: str) -> None:
        try:
            self._socket.bind((address, 53))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return
            self._socket.close()
            pytest.skip(f"a name server cannot listen at port 53 here: {error}")
        self.address = address

    def write_conf(self, file: Path) -> Path:
        """A `resolv.conf` that names it."""
        file.write_text(f"nameserver {self.address}\noptions timeout:1 attempts:2\n")
        return file

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, client = self._socket.recvfrom(512)
                if not question:
                    return
                self.asked += 1
                mood = self.mood
                if mood != "answers":
                    self.failed += 1
                if mood != "silent":
                    self._socket.sendto(_answer(question, mood), client)

    def close(self) -> None:
        """Stop."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", (self.address, 53))
        self._thread.join(5)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _answer(question: bytes, mood: Mood) -> bytes:
    """To a query with one question; what comes after it (EDNS) is left out."""
    end = 12
    while question[end]:
        end += question[end] + 1
    asked = question[12 : end + 5]
    knows = mood == "answers" and asked[-4:-2] == _A
    # An answer, recursion asked for and available.
    flags = (0x8180 | _CODES[mood]).to_bytes(2, "big")
    counts = b"\x00\x01" + (b"\x00\x01" if knows else b"\x00\x00") + b"\x00\x00\x00\x00"
    return question[:2] + flags + counts + asked + (_LOOPBACK if knows else b"")
