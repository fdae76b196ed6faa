"""The marks of an attempt, taken from the `trace` extension of httpcore (any httpx transport but our own)."""

from collections.abc import Mapping
from time import monotonic
from typing import Any

from workers.transports.base import Wire

__all__ = ["HttpcoreMarks"]


class HttpcoreMarks:
    """Leaves the marks of one attempt when httpcore says what it is about to do.

    The names are httpcore's: https://www.encode.io/httpcore/extensions/#trace. There is no word for a permit of the
    pool, so `pool_acquired` is the first thing that happens on a connection.

    Args:
        wire: takes the marks.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take the mark of an event."""
        wire, now = self._wire, monotonic()
        if wire.pool_acquired is None:
            wire.pool_acquired = now
        match event.split(".", 1)[-1]:
            case "connect_tcp.started" | "connect_unix_socket.started":
                wire.connect_started = now
            case "connect_tcp.complete" | "connect_unix_socket.complete" | "start_tls.complete":
                wire.connected = now
            # HTTP/2's preface, which goes out before, is no request.
            case "send_request_headers.started":
                wire.sent = now
            case "receive_response_headers.complete":
                wire.first_byte = now
