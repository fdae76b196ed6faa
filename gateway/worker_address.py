"""Where a worker tells how it is: `/metrics`, `/livez` and `/readyz`."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gateway.redaction import SECRETS
from gateway.settings import SettingsError

__all__ = ["DEFAULT_PORT", "WorkerAddress"]

#: Workers on one host that do not say otherwise take the next free ones.
DEFAULT_PORT = 9808
_NAME = "GATEWAY_WORKER_ADDRESS"
_SHORTEST_TOKEN = 16
_CURE = "set it to host:port, such as 127.0.0.1:9808, to a port of 0 for any free one, or to off"


@dataclass(frozen=True, slots=True)
class WorkerAddress:
    """An address to listen on.

    Attributes:
        host: an IP address or a name of this host.
        port: 0 for any free one.
        is_default: nobody named it: if it is taken, another one will do.
        token: who reads metrics shows it as a bearer token; None: nobody has to.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    is_default: bool = True
    token: str | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self | None:
        """What `GATEWAY_WORKER_ADDRESS` and `GATEWAY_METRICS_TOKEN` say; None: it is off.

        Raises:
            SettingsError: it is no address, or other hosts could read metrics without a token.
        """
        token = _token(environ.get("GATEWAY_METRICS_TOKEN", "").strip())
        written = environ.get(_NAME, "").strip()
        if written.lower() == "off":
            return None
        if not written:
            return cls(token=token)
        host, separator, port = written.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not separator or not host or not (port.isascii() and port.isdecimal() and int(port) < 65536):
            raise SettingsError(f"{_NAME} is no address; {_CURE}")
        if token is None and not _is_loopback(host):
            raise SettingsError(
                f"{_NAME} is on {host}, where other hosts read the metrics; set GATEWAY_METRICS_TOKEN, which they show"
                " as a bearer token, or listen on 127.0.0.1"
            )
        return cls(host=host, port=int(port), is_default=False, token=token)

    def __repr__(self) -> str:
        return f"<WorkerAddress {self.host}:{self.port}>"


def _token(written: str) -> str | None:
    if written.startswith("file:"):
        try:
            written = Path(written.removeprefix("file:")).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"GATEWAY_METRICS_TOKEN: its file cannot be read ({type(error).__name__}); correct its path or rights"
            ) from None
        if not written:
            raise SettingsError("GATEWAY_METRICS_TOKEN: its file is empty; write the token into it")
    if written and len(written) < _SHORTEST_TOKEN:
        raise SettingsError(
            f"GATEWAY_METRICS_TOKEN has less than {_SHORTEST_TOKEN} characters and could be guessed; use a random one"
        )
    SECRETS.register(written, sent=False)
    return written or None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
