"""The environment, read once into one typed object."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

__all__ = ["Settings", "SettingsError"]

_RESULT_SCHEMES = ("redis", "rediss", "redis+socket")
_AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")
_BROKER_SCHEMES = (*_RESULT_SCHEMES, *_AMQP_SCHEMES)
#: Between the URLs of a failover list; a semicolon in a password is not followed by a scheme.
_BETWEEN = re.compile(r";(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)


class SettingsError(ValueError):
    """A variable of the environment is missing or wrong; names it and the cure, and never shows a password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the gateway is and who uses it.

    Attributes:
        broker_url: carries the calls: Redis, Valkey or RabbitMQ; a failover list is separated by semicolons.
        result_url: holds results and state: one Redis or Valkey, over TCP (`redis://`), TLS (`rediss://`) or a Unix
            socket (`redis+socket:///path?virtual_host=0`). Sentinel is not supported: put an address in front that
            follows its master.
        config: the catalogue file; None for a producer that has none.
        caller: name of the service that enqueues.
        caller_key: its signing key.
    """

    broker_url: str
    result_url: str
    config: Path | None = None
    caller: str | None = None
    caller_key: str | None = field(default=None, repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read `GATEWAY_BROKER_URL`, `GATEWAY_RESULT_URL`, `GATEWAY_CONFIG`, `GATEWAY_CALLER`, `GATEWAY_CALLER_KEY`.

        Without `GATEWAY_RESULT_URL` the broker holds the results too, if it is Redis. Without `GATEWAY_CONFIG` the file
        `gateway.toml` in the current folder is taken, if there is one.

        Raises:
            SettingsError: a variable is missing or wrong.
        """
        environ = os.environ if environ is None else environ
        broker = environ.get("GATEWAY_BROKER_URL", "")
        if not broker:
            raise SettingsError("GATEWAY_BROKER_URL is not set; set it, for example to redis://localhost:6379/0")
        parts = _check_url("GATEWAY_BROKER_URL", broker, _BROKER_SCHEMES)
        result = environ.get("GATEWAY_RESULT_URL", "")
        if not result:
            if len(parts) > 1 or _scheme(broker) not in _RESULT_SCHEMES:
                raise SettingsError(
                    "GATEWAY_RESULT_URL is not set, and the broker cannot hold results; set it to one redis:// URL"
                )
            result = broker
        if len(_check_url("GATEWAY_RESULT_URL", result, _RESULT_SCHEMES)) > 1:
            raise SettingsError(
                "GATEWAY_RESULT_URL has several URLs, and results are in one place; set it to one of them, or to an"
                " address that follows the master"
            )
        named = environ.get("GATEWAY_CONFIG")
        config = Path(named) if named else Path("gateway.toml")
        return cls(
            broker_url=broker,
            result_url=result,
            config=config if named or config.is_file() else None,
            caller=environ.get("GATEWAY_CALLER") or None,
            caller_key=environ.get("GATEWAY_CALLER_KEY") or None,
        )

    @property
    def broker_is_amqp(self) -> bool:
        """Whether RabbitMQ carries the calls."""
        return _scheme(self.broker_url) in _AMQP_SCHEMES

    def __repr__(self) -> str:
        """Without passwords and options; never fails, whatever the URLs are."""
        return (
            f"<Settings broker={_shown(self.broker_url)} result={_shown(self.result_url)}"
            f" config={self.config} caller={self.caller}>"
        )


def _scheme(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


def _shown(url: str) -> str:
    """Scheme, host and path of each URL. What cannot be told from a password is left out."""
    return ";".join(_shown_part(part) for part in _BETWEEN.split(url))


def _shown_part(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    before, _, options = rest.partition("?")
    if "@" in options:
        return f"{scheme}://***"
    credentials, at, place = before.rpartition("@")
    return f"{scheme}://{'***@' if credentials and at else ''}{place}"


def _check_url(name: str, url: str, schemes: tuple[str, ...]) -> list[str]:
    """The URLs of a list, one by one."""
    parts = _BETWEEN.split(url)
    for part in parts:
        if _scheme(part) == "sentinel":
            raise SettingsError(
                f"{name} is for Sentinel, which is not supported; set it to a redis:// address that follows the master,"
                " such as a proxy's or a virtual IP's"
            )
        if _scheme(part) not in schemes:
            raise SettingsError(
                f"{name} does not begin with {', '.join(f'{scheme}://' for scheme in schemes)}; set it to such a URL"
            )
        try:
            urlsplit(part).port  # noqa: B018 - it is checked when it is read
        except ValueError:
            raise SettingsError(
                f"{name} cannot be read as a URL; write host and port as host:6379, and percent-encode"
                " what is special in a password"
            ) from None
    if len({_scheme(part) in _AMQP_SCHEMES for part in parts}) > 1:
        raise SettingsError(f"{name} has URLs of RabbitMQ and of Redis; list servers of one kind")
    return parts
