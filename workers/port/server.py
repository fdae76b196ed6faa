"""The HTTP server of a worker's port, in a thread of its own."""

import asyncio
import hmac
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiohttp import web

from gateway.worker_address import WorkerAddress
from workers.port.vitals import Vitals

__all__ = ["PortServer", "PortTakenError"]

_log = logging.getLogger("gateway.port")

#: Seconds between two looks at the worker, and for which a connection may be idle.
_LOOK_S, _IDLE_S = 1.0, 15.0
#: Ports after the default one that are tried, where nobody named one.
_MORE_PORTS = 50
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class PortTakenError(OSError):
    """The named address cannot be listened on; the message says what to do."""


class PortServer:
    """Answers three questions. Each by GET alone, and without anything of a call.

    Args:
        address: to listen on.
        vitals: are looked at each second.
        expose: makes the metrics, in Prometheus' text format; it may ask servers, so it has a thread to itself.

    Attributes:
        port: that it listens on, after `start`.
    """

    def __init__(self, address: WorkerAddress, vitals: Vitals, expose: Callable[[], bytes]) -> None:
        self._address = address
        self._vitals = vitals
        self._expose = expose
        self._socket: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._exposing = asyncio.Lock()
        self._thread = threading.Thread(target=self._run, name="gateway-port", daemon=True)
        self.port = 0

    def start(self) -> None:
        """Listen, and answer from then on.

        Raises:
            PortTakenError: the address was named, and is not free.
        """
        self._socket = _listen(self._address)
        self.port = self._socket.getsockname()[1]
        self._thread.start()
        _log.info("metrics and health on http://%s:%s", self._address.host, self.port)

    def stop(self, timeout_s: float = 3.0) -> None:
        """End."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopped.set)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:
            _log.error("the port ended: %s", type(error).__name__)
        finally:
            with suppress(Exception):
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=1024)
        app.add_routes(
            [web.get("/metrics", self._metrics), web.get("/livez", self._livez), web.get("/readyz", self._readyz)]
        )
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=_IDLE_S, lingering_time=0)
        await runner.setup()
        try:
            assert self._socket is not None  # noqa: S101 - `start` made it
            await web.SockSite(runner, self._socket, shutdown_timeout=1.0).start()
            while not self._stopped.is_set():
                self._vitals.look()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._stopped.wait()
        finally:
            await runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        token = self._address.token
        if token is not None and not _is_shown(request.headers.get("authorization", ""), token):
            return web.Response(status=401, headers={"www-authenticate": "Bearer"}, text="show the bearer token\n")
        # One at a time: whoever asks too often waits for itself.
        async with self._exposing:
            body = await asyncio.to_thread(self._expose)
        return web.Response(body=body, headers={"content-type": _TEXT})

    async def _livez(self, _: web.Request) -> web.Response:
        return _answer(self._vitals.not_alive())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self._vitals.not_ready())


def _answer(why_not: Sequence[str]) -> web.Response:
    status = "failing" if why_not else "ok"
    return web.json_response({"status": status, "reasons": list(why_not)}, status=503 if why_not else 200)


def _is_shown(header: str, token: str) -> bool:
    scheme, _, shown = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(
        shown.strip().encode(errors="surrogateescape"), token.encode()
    )


def _listen(address: WorkerAddress) -> socket.socket:
    # Where nobody named one, any will do at last.
    more = (*range(address.port + 1, address.port + _MORE_PORTS), 0) if address.is_default else ()
    last = more[-1] if more else address.port
    for port in (address.port, *more):
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(
                address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            made = socket.socket(family, kind, protocol)
        except OSError as error:
            raise _taken(address, error) from None
        try:
            # As servers do: connections that have ended do not count.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(place)
            made.listen(64)
        except OSError as error:
            made.close()
            if port == last:
                raise _taken(address, error) from None
        else:
            return made
    raise AssertionError("the last port was tried")


def _taken(address: WorkerAddress, error: OSError) -> PortTakenError:
    return PortTakenError(
        f"GATEWAY_WORKER_ADDRESS: nothing can listen on {address.host}:{address.port} ({error.strerror or error});"
        " name another port, 0 for any free one, or off"
    )
