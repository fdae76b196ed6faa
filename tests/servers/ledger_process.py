"""The ledger's own process: `python -m tests.servers.ledger_process PORT FILE`.

The counting service, but what arrives is not kept in memory: it is written to a file, one line for each arrival, before
the request is answered. So a hundred thousand of them cost nothing, and what was written survives this process.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import uvloop

from tests.servers.counting_process import Link, Service


class Book(list[dict[str, Any]]):
    """Takes arrivals, and keeps none."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def append(self, arrival: dict[str, Any]) -> None:
        """One line: when, method, path, request id, correlation id, idempotency key."""
        names = ("at", "method", "path", "request_id", "correlation_id", "idempotency_key")
        line = " ".join(str(arrival[name]).replace(" ", "_") for name in names)
        os.write(self._file, f"{line}\n".encode())


async def serve(port: int, file: Path) -> None:
    """Serve until the process is ended."""
    service = Service()
    service.arrivals = Book(file)
    server = await asyncio.get_running_loop().create_server(lambda: Link(service), "127.0.0.1", port, backlog=4000)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - its parent waits for it
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
