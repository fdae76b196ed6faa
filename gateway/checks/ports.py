"""Whether the ports are free on which this environment's programs will listen."""

import errno
import http.client
import socket
from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from gateway.checks.finding import Finding, Level
from gateway.settings import SettingsError
from gateway.worker_address import WorkerAddress

__all__ = ["check_ports"]

_PATIENCE_S = 1.0
_FLOWER_PORT = 5555


def check_ports(environ: Mapping[str, str]) -> Iterator[Finding]:
    """The ports of a worker and of Flower are free, or a worker and Flower have them."""
    yield from _check_worker(environ)
    if find_spec("flower") is not None:
        yield from _check_flower(environ)


def _check_worker(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        address = WorkerAddress.of(environ)
    except SettingsError as error:
        yield Finding(level=Level.ERROR, what="worker port", found=str(error))
        return
    if address is None or address.is_default or address.port == 0:
        # Off, or the next free one.
        return
    what = f"port {address.port}"
    try:
        taken = _is_taken(address.host, address.port)
    except OSError as error:
        yield Finding(
            level=Level.ERROR,
            what=what,
            found=f"a worker cannot listen on {address.host} ({error.strerror or error})",
            cure="set GATEWAY_WORKER_ADDRESS to an address of this host",
        )
        return
    if not taken:
        yield Finding(level=Level.OK, what=what, found="is free for a worker")
    elif _answers(address.host, address.port, "/livez", b"reasons"):
        yield Finding(level=Level.OK, what=what, found="a worker answers")
    else:
        yield Finding(
            level=Level.ERROR,
            what=what,
            found="is taken, and not by a worker, which would not start",
            cure="set GATEWAY_WORKER_ADDRESS to another, or stop what listens there",
        )


def _check_flower(environ: Mapping[str, str]) -> Iterator[Finding]:
    address = environ.get("FLOWER_ADDRESS") or "127.0.0.1"
    written = environ.get("FLOWER_PORT") or str(_FLOWER_PORT)
    what = f"port {written}"
    if not (written.isdecimal() and written.isascii() and 0 < int(written) < 65536):
        yield Finding(
            level=Level.ERROR, what="FLOWER_PORT", found=f"{written!r} is not a port", cure="set it to 1 … 65535"
        )
        return
    try:
        taken = _is_taken(address, int(written))
    except OSError as error:
        yield Finding(
            level=Level.WARNING,
            what=what,
            found=f"Flower cannot listen on {address} ({error.strerror or error})",
            cure="set FLOWER_ADDRESS to an address of this host",
        )
        return
    if not taken:
        yield Finding(level=Level.OK, what=what, found="is free for Flower")
    elif _answers(address, int(written), "/healthcheck", b"OK"):
        yield Finding(level=Level.OK, what=what, found="Flower answers")
    else:
        yield Finding(
            level=Level.WARNING,
            what=what,
            found="is taken, and not by Flower, which would not start",
            cure="set FLOWER_PORT to another, or stop what listens there",
        )


def _is_taken(address: str, port: int) -> bool:
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: connections that have ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
            probe.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False


def _answers(address: str, port: int, path: str, word: bytes) -> bool:
    host = "127.0.0.1" if address == "0.0.0.0" else "::1" if address == "::" else address  # noqa: S104 - compared
    connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status in (200, 503) and word in answer.read(1000)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
