"""The counting HTTP service's own process: `python -m tests.servers.counting_process PORT`.

It prints its port when it listens. Raw asyncio and as little work as possible for each request, because it shares its
cores with the workers that it counts for. What it is asked below `/_/` is its own affair and is not counted:

- `PUT /_/conduct/<path>`: from now on that path, and all below it, behave like the `Conduct` in the JSON body. Its
  arrivals are counted from 1 again.
- `GET /_/arrivals/<path>`: what has arrived at that path and below it, in order.
"""

import asyncio
import contextlib
import json
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

import uvloop

from tests.servers.conduct import WELL, Conduct

_OWN = "/_/"
#: Resets instead of closing in order.
_LINGER = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class _Path:
    """A path that was told how to behave."""

    conduct: Conduct
    since: float
    arrivals: int = 0


class Service:
    """What all connections share."""

    def __init__(self) -> None:
        self.paths: dict[str, _Path] = {}
        self.arrivals: list[dict[str, Any]] = []

    def set(self, path: str, conduct: Conduct) -> None:
        """How a path and those below it behave from now on."""
        self.paths[path] = _Path(conduct, time.monotonic())

    def conduct_of(self, path: str, now: float) -> Conduct:
        """What is done with an arrival."""
        told = path
        while told and told not in self.paths:
            told = told.rpartition("/")[0]
        if not told:
            return WELL
        state = self.paths[told]
        state.arrivals += 1
        return state.conduct.now(number=state.arrivals, elapsed_s=now - state.since)


class Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.transport: Any = None
        self.buffer = b""
        self.current: dict[str, Any] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.current is not None:
            self.current["ended"] = time.monotonic()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.current is None:
            self.read()

    def read(self) -> None:
        """Take one request from what came in, if it is all there."""
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if "transfer-encoding" in headers or len(rest) < length:
            # A body without a length is none of the gateway's.
            return
        body, self.buffer = rest[:length], rest[length:]
        path = target.partition("?")[0]
        if path.startswith(_OWN):
            self.own(method, path.removeprefix(_OWN), body)
        else:
            self.arrive(method, path, headers)

    def arrive(self, method: str, path: str, headers: dict[str, str]) -> None:
        now = time.monotonic()
        conduct = self.service.conduct_of(path, now)
        self.current = {
            "at": now,
            "method": method,
            "path": path,
            "request_id": headers.get("x-request-id"),
            "correlation_id": headers.get("x-correlation-id"),
            "idempotency_key": headers.get("idempotency-key"),
            "traceparent": headers.get("traceparent"),
            "peer": self.transport.get_extra_info("peername")[1],
            "status": conduct.status if conduct.action == "answer" else 0,
            "ended": None,
        }
        self.service.arrivals.append(self.current)
        if conduct.action == "hang":
            return
        if conduct.delay_s > 0:
            self.timer = asyncio.get_running_loop().call_later(conduct.delay_s, self.act, conduct)
        else:
            self.act(conduct)

    def act(self, conduct: Conduct) -> None:
        self.timer = None
        if conduct.action == "reset":
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            self.transport.abort()
            return
        more = "" if conduct.retry_after is None else f"retry-after: {conduct.retry_after}\r\n"
        self.answer(conduct.status, b"{}", more)

    def answer(self, status: int, body: bytes, more: str = "") -> None:
        if self.current is not None:
            self.current["ended"] = time.monotonic()
            self.current = None
        head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{more}\r\n"
        self.transport.write(head.encode() + body)
        if self.buffer:
            self.read()

    def own(self, method: str, what: str, body: bytes) -> None:
        subject, _, path = what.partition("/")
        said: Any = None
        match method, subject:
            case "PUT", "conduct":
                self.service.set(f"/{path}", Conduct(**json.loads(body)))
            case "GET", "arrivals":
                below = f"/{path}"
                said = [
                    arrival
                    for arrival in self.service.arrivals
                    if arrival["path"] == below or arrival["path"].startswith(f"{below}/")
                ]
            case _:
                self.answer(404, b"{}")
                return
        self.answer(200, json.dumps(said).encode())


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    service = Service()
    server = await asyncio.get_running_loop().create_server(lambda: Link(service), "127.0.0.1", port, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - its parent waits for it
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(int(sys.argv[1])))
