"""A service that does not listen until it is started."""

import socket
from pathlib import Path

from tests.servers.counting import CountingService

__all__ = ["LateService"]


class LateService:
    """Holds a port on which connections are refused, and starts a counting service there when it is wanted.

    Args:
        folder: takes the log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Bound, and never listening: connecting to it is refused for as long as it is held.
        self._held = socket.socket()
        self._held.bind(("127.0.0.1", 0))
        self.port: int = self._held.getsockname()[1]
        self._service: CountingService | None = None

    def start(self) -> CountingService:
        """Listen from now on."""
        self._held.close()
        self._service = CountingService(self._folder, port=self.port)
        return self._service

    def stop(self) -> None:
        """Stop it, and give the port back."""
        self._held.close()
        if self._service is not None:
            self._service.stop()
