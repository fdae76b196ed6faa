"""A TCP proxy that breaks links on demand: cut after a command, swallow everything, or pass it on in small pieces."""

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]


class _Link:
    """One connection of a client and its twin to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.swallows = False
        #: The reply is read, and neither passed on nor followed by more.
        self.cuts = threading.Event()

    def close(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Listens on a loopback port and passes bytes on to another.

    Args:
        port: the server's.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.accepted = 0
        self._cut_on: bytes | None = None
        self._piece: tuple[int, float] | None = None
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
                server = socket.create_connection(("127.0.0.1", self._upstream), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
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
                if self._cut_on is not None and self._cut_on in data:
                    self._cut_on = None
                    link.cuts.set()
                link.server.sendall(data)
        link.close()

    def _down(self, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while data := link.server.recv(65536):
                if link.cuts.is_set():
                    break
                if link.swallows:
                    continue
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
