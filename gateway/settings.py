"""The environment, read once into one typed object."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

__all__ = ["Settings", "SettingsError"]

_RESULT_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel")
_AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")
_BROKER_SCHEMES = (*_RESULT_SCHEMES, *_AMQP_SCHEMES)


class SettingsError(ValueError):
    """A variable of the environment is missing or wrong; names it and the cure, and never shows a password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the gateway is and who uses it.

    Attributes:
        broker_url: carries the calls: Redis, Valkey or RabbitMQ.
        result_url: holds results and state: Redis or Valkey.
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
        _check_url("GATEWAY_BROKER_URL", broker, _BROKER_SCHEMES)
        result = environ.get("GATEWAY_RESULT_URL", "")
        if not result:
            if urlsplit(broker).scheme not in _RESULT_SCHEMES:
                raise SettingsError(
                    "GATEWAY_RESULT_URL is not set, and the broker cannot hold results; set it to a redis:// URL"
                )
            result = broker
        _check_url("GATEWAY_RESULT_URL", result, _RESULT_SCHEMES)
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
        return urlsplit(self.broker_url).scheme in _AMQP_SCHEMES

    def __repr__(self) -> str:
        """Without passwords."""
        from kombu.utils.url import maybe_sanitize_url

        return (
            f"<Settings broker={maybe_sanitize_url(self.broker_url)} result={maybe_sanitize_url(self.result_url)}"
            f" config={self.config} caller={self.caller}>"
        )


def _check_url(name: str, url: str, schemes: tuple[str, ...]) -> None:
    # A list of URLs (failover, Sentinel) is separated by semicolons; each has its own scheme.
    for part in url.split(";"):
        if urlsplit(part).scheme not in schemes:
            raise SettingsError(
                f"{name} begins with {urlsplit(part).scheme or 'no scheme'!r}; use one of"
                f" {', '.join(f'{scheme}://' for scheme in schemes)}"
            )
