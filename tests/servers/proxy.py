"""A TCP proxy that breaks links on demand: cut, hold back, swallow, refuse, or pass on in small pieces."""

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]

#: Closing resets the connection (SO_LINGER with no time) instead of ending it in order.
_RESET = struct.pack("ii", 1, 0)
#: How often a link that is held back looks whether it may go on.
_LOOK_S = 0.02


class _Link:
    """One connection of a client and its twin to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.swallows = False
        #: The reply is read, and neither passed on nor followed by more.
        self.cuts = threading.Event()
        self.over = threading.Event()

    def close(self) -> None:
        if self.over.is_set():
            return
        self.over.set()
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        self.over.set()
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # Wakes the thread that reads, and says nothing to the peer.
                end.shutdown(socket.SHUT_RD)
            end.close()


class Proxy:
    """Listens on a loopback port and passes bytes on to another.

    Args:
        port: the server's.

    Attributes:
        port: its own.
        accepted: how many connections were made to it and passed on.
        cuts: how many links were cut by `cut_after`.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listening.getsockname()[1]
        self.accepted = 0
        self.cuts = 0
        self._cut_on: bytes | None = None
        self._piece: tuple[int, float] | None = None
        self._refuses = False
        #: Set: passes on. Cleared: what comes waits.
        self._up_open, self._down_open = threading.Event(), threading.Event()
        self._up_open.set()
        self._down_open.set()
        self._links: list[_Link] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, database: int = 0) -> str:
        """Its `redis://` URL."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def cut_after(self, command: bytes) -> None:
        """Pass what has this on to the server, and cut the link when the server answers it. Once."""
        self._cut_on = command

    def swallow(self) -> None:
        """From now on nothing comes through on the links there are, in either direction; none is closed."""
        for link in self._links:
            link.swallows = True

    def hold(self, *, up: bool = False, down: bool = False) -> None:
        """Keep back what clients say (up), or what the server says (down), until `let_go`; nothing is closed."""
        if up:
            self._up_open.clear()
        if down:
            self._down_open.clear()

    def hear(self) -> None:
        """Pass on what clients said, and keep back what the server answers."""
        self._down_open.clear()
        self._up_open.set()

    def let_go(self) -> None:
        """Pass on what was held back, and accept connections again."""
        self._refuses = False
        self._up_open.set()
        self._down_open.set()

    def reset(self, *, refuse: bool = False) -> int:
        """Reset every link there is; what was held back on them is gone.

        Args:
            refuse: reset also every connection that is made, until `let_go`.

        Returns:
            How many links were open, and are not any more.
        """
        self._refuses = refuse
        links, self._links = self._links, []
        cut = sum(not link.over.is_set() for link in links)
        for link in links:
            link.reset()
        return cut

    def dribble(self, *, chunk: int, every_s: float) -> None:
        """Pass on what the server says in pieces of so many bytes, with a pause between."""
        self._piece = (chunk, every_s)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self._refuses:
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self._upstream), timeout=5)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.accepted += 1
            link = _Link(client, server)
            self._links.append(link)
            for pump in (self._up, self._down):
                thread = threading.Thread(target=pump, args=(link,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _up(self, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while data := link.client.recv(65536):
                if link.swallows:
                    continue
                _wait(self._up_open, link)
                if self._cut_on is not None and self._cut_on in data:
                    self._cut_on = None
                    link.cuts.set()
                link.server.sendall(data)
        link.close()

    def _down(self, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while data := link.server.recv(65536):
                if link.cuts.is_set():
                    self.cuts += 1
                    break
                if link.swallows:
                    continue
                _wait(self._down_open, link)
                if self._piece is None:
                    link.client.sendall(data)
                    continue
                size, pause = self._piece
                for start in range(0, len(data), size):
                    time.sleep(pause)
                    link.client.sendall(data[start : start + size])
        link.close()

    def close(self) -> None:
        """Cut all links and stop."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for link in self._links:
            link.close()
        for thread in list(self._threads):
            thread.join(5)
        for link in self._links:
            link.client.close()
            link.server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _wait(may_pass: threading.Event, link: _Link) -> None:
    """Until the way is free, or the link is closed: then what was read is dropped with it."""
    while not may_pass.wait(_LOOK_S):
        if link.over.is_set():
            raise ConnectionResetError
