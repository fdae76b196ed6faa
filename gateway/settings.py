"""The environment, read once into one typed object."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from gateway.redaction import SECRETS
from gateway.redis_address import AddressError, RedisAddress, split_urls, with_checked_certificate
from gateway.signing_key import KeyProblem, SigningKey, own_key

__all__ = ["Settings", "SettingsError"]

_SENTINEL = "sentinel"
_RESULT_SCHEMES = ("redis", "rediss", "redis+socket", _SENTINEL)
_AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")
_BROKER_SCHEMES = (*_RESULT_SCHEMES, *_AMQP_SCHEMES)


class SettingsError(ValueError):
    """A variable of the environment is missing or wrong; names it and the cure, and never shows a password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the gateway is and who uses it.

    Attributes:
        broker_url: carries the calls: Redis, Valkey or RabbitMQ; a failover list is separated by semicolons.
        result_url: holds results and state: one Redis or Valkey, over TCP (`redis://`), TLS (`rediss://`) or a Unix
            socket (`redis+socket:///path?virtual_host=0`), or the one that a list of Sentinels names
            (`sentinel://h1:26379/0?master_name=NAME;sentinel://h2:26379`). See `gateway.redis_address`, which reads
            either URL.
        config: the catalogue file; None for a producer that has none.
        caller: name of the service that enqueues.
        caller_key: the key that it signs with.
    """

    broker_url: str
    result_url: str
    config: Path | None = None
    caller: str | None = None
    caller_key: SigningKey | None = field(default=None, repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read `GATEWAY_BROKER_URL`, `GATEWAY_RESULT_URL`, `GATEWAY_CONFIG`, `GATEWAY_CALLER`, `GATEWAY_CALLER_KEY`.

        Without `GATEWAY_RESULT_URL` the broker holds the results too, if it is Redis. Without `GATEWAY_CONFIG` the file
        `gateway.toml` in the current folder is taken, if there is one.

        `GATEWAY_BROKER_MASTER` and `GATEWAY_RESULT_MASTER` name the master of Sentinels whose URLs do not: the former
        for both where the broker holds the results. A `rediss://` URL that does not say how the server's certificate is
        checked means `ssl_cert_reqs=required`.

        Raises:
            SettingsError: a variable is missing or wrong.
        """
        environ = os.environ if environ is None else environ
        broker = environ.get("GATEWAY_BROKER_URL", "")
        if not broker:
            raise SettingsError("GATEWAY_BROKER_URL is not set; set it, for example to redis://localhost:6379/0")
        broker, parts = _read("GATEWAY_BROKER_URL", broker, _BROKER_SCHEMES, environ.get("GATEWAY_BROKER_MASTER"))
        result = environ.get("GATEWAY_RESULT_URL", "")
        if not result:
            if not _is_one_redis(parts):
                raise SettingsError(
                    "GATEWAY_RESULT_URL is not set, and the broker cannot hold results; set it to one redis:// URL"
                )
            result = broker
        result, parts = _read("GATEWAY_RESULT_URL", result, _RESULT_SCHEMES, environ.get("GATEWAY_RESULT_MASTER"))
        if not _is_one_redis(parts):
            raise SettingsError(
                "GATEWAY_RESULT_URL has several URLs, and results are in one place; set it to one of them, or to a list"
                " of Sentinels, each as sentinel://host:26379"
            )
        named = environ.get("GATEWAY_CONFIG")
        config = Path(named) if named else Path("gateway.toml")
        return cls(
            broker_url=broker,
            result_url=result,
            config=config if named or config.is_file() else None,
            caller=environ.get("GATEWAY_CALLER") or None,
            caller_key=_own_key(environ),
        )

    @property
    def signing_keys(self) -> Mapping[str, SigningKey]:
        """The key of the caller, by its name; empty without one."""
        return {} if self.caller is None or self.caller_key is None else {self.caller: self.caller_key}

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


def _own_key(environ: Mapping[str, str]) -> SigningKey | None:
    given = environ.get("GATEWAY_CALLER_KEY")
    if not given:
        return None
    if not environ.get("GATEWAY_CALLER"):
        raise SettingsError("GATEWAY_CALLER_KEY is set, and GATEWAY_CALLER is not; set it to the caller's name")
    try:
        return own_key(given, environ)
    except KeyProblem as problem:
        raise SettingsError(str(problem)) from None


def _scheme(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


def _shown(url: str) -> str:
    """Scheme, host and path of each URL. What cannot be told from a password is left out."""
    return ";".join(_shown_part(part) for part in split_urls(url))


def _shown_part(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    before, _, options = rest.partition("?")
    if "@" in options:
        return f"{scheme}://***"
    credentials, at, place = before.rpartition("@")
    return f"{scheme}://{'***@' if credentials and at else ''}{place}"


def _is_one_redis(parts: list[str]) -> bool:
    """Whether the URLs of a list lead to one Redis."""
    schemes = {_scheme(part) for part in parts}
    return schemes == {_SENTINEL} or (len(parts) == 1 and schemes <= set(_RESULT_SCHEMES))


def _read(name: str, urls: str, schemes: tuple[str, ...], master: str | None) -> tuple[str, list[str]]:
    """A variable's value, complete, and the URLs of its list."""
    parts = _check_url(name, urls, schemes)
    for part in parts:
        _keep_secret(part)
    if _scheme(parts[0]) != _SENTINEL:
        parts = [with_checked_certificate(part) for part in parts]
        urls = ";".join(parts)
        if _scheme(parts[0]) not in _AMQP_SCHEMES:
            _check_redis(name, urls)
        return urls, parts
    if master and not any("master_name=" in part.partition("?")[2] for part in parts):
        before, mark, query = parts[0].partition("?")
        parts[0] = f"{before}?{query}{'&' if mark and query else ''}master_name={quote(master, safe='')}"
    urls = ";".join(parts)
    _check_redis(name, urls)
    return urls, parts


def _check_redis(name: str, urls: str) -> None:
    try:
        RedisAddress.parse(urls)
    except AddressError as error:
        also = f", or set {name.replace('_URL', '_MASTER')}" if "names no master" in str(error) else ""
        raise SettingsError(f"{name} {error}{also}") from None


def _keep_secret(url: str) -> None:
    """No log line of this process shows its passwords, which libraries like to put into their errors."""
    split = urlsplit(url)
    options = dict(parse_qsl(split.query))
    for password in (split.password, options.get("password"), options.get("sentinel_password")):
        if password:
            SECRETS.register(password, sent=False)
            SECRETS.register(unquote(password), sent=False)


def _check_url(name: str, url: str, schemes: tuple[str, ...]) -> list[str]:
    """The URLs of a list, one by one."""
    parts = split_urls(url)
    for part in parts:
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
    if len({_scheme(part) == _SENTINEL for part in parts}) > 1:
        raise SettingsError(f"{name} has Sentinels and servers; list servers of one kind")
    return parts
