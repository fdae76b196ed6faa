"""Where a Redis is, as its URL says: one server, or the Sentinels that know which of several it is.

URLs are Celery's: `redis://`, `rediss://`, `redis+socket://` and a list of `sentinel://`, one for each Sentinel, with
semicolons between. Everything about the server behind Sentinels (user, password, database, options) may be written at
any of them, and holds for all. What is ours alone is read here, and is not in the URLs that Celery and kombu get:

- `master_name`: by which the Sentinels know the server;
- `sentinel_username`, `sentinel_password`: of the Sentinels themselves;
- `ssl_…`: TLS, to the server and to its Sentinels.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ["AddressError", "RedisAddress", "split_urls", "with_checked_certificate"]

#: Seconds for a connection to a Sentinel, and for its answer. It is asked again for each new connection to the server.
_SENTINEL_S = 1.0
_SENTINEL_PORT = 26379
#: Between the URLs of a list; a semicolon in a password is not followed by a scheme.
_BETWEEN = re.compile(r";(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
#: Spellings of `ssl_cert_reqs`: what Celery also understands, and what redis-py does.
_CERT_REQS = {"CERT_REQUIRED": "required", "CERT_OPTIONAL": "optional", "CERT_NONE": "none"}
_SAID_CERT_REQS = re.compile(r"([?&]ssl_cert_reqs=)([^&]*)")
_SENTINEL_OWN = {"sentinel_username": "username", "sentinel_password": "password"}


class AddressError(ValueError):
    """A URL is wrong: what is, and the cure. Never shows a password."""


def split_urls(urls: str) -> list[str]:
    """The URLs of a list that is separated by semicolons."""
    return _BETWEEN.split(urls)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """One Redis.

    Attributes:
        url: for Celery and kombu: without what is ours.
        sentinels: host and port of each; none if the server has a URL of its own.
        master_name: of the server, among those that the Sentinels watch.
        server: options of a connection to the server behind Sentinels: database, user, password, and what the URL adds.
        sentinel_options: options of a connection to a Sentinel.
        ssl: TLS options of a server behind Sentinels and of them; empty: none.
    """

    url: str = field(repr=False)
    sentinels: tuple[tuple[str, int], ...] = ()
    master_name: str = ""
    server: dict[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)
    ssl: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, urls: str) -> Self:
        """Read a URL, or a list of those of Sentinels. A list of servers, which kombu tries in turn, stays as it is.

        Raises:
            AddressError: it is wrong.
        """
        parts = split_urls(urls)
        kinds = {_scheme(part) == "sentinel" for part in parts}
        if len(kinds) > 1:
            raise AddressError("has Sentinels and servers; list Sentinels alone, each as sentinel://host:26379")
        if kinds == {True}:
            return cls._of_sentinels(parts)
        for part in parts:
            _check_database(part)
        return cls(urls)

    @classmethod
    def _of_sentinels(cls, parts: list[str]) -> Self:
        sentinels: list[tuple[str, int]] = []
        options: dict[str, str] = {}
        username = password = database = ""
        for part in parts:
            url = urlsplit(part)
            try:
                sentinels.append((url.hostname or "localhost", url.port or _SENTINEL_PORT))
            except ValueError:
                raise AddressError("cannot be read as a URL; write each Sentinel as sentinel://host:26379") from None
            options |= dict(parse_qsl(url.query))
            username, password = username or unquote(url.username or ""), password or unquote(url.password or "")
            database = database or url.path.strip("/")
        master = options.pop("master_name", "")
        if not master:
            raise AddressError("names no master; add ?master_name=NAME, as the Sentinels know it")
        if not (database or "0").isdigit():
            raise AddressError("has no number for its database; write it as sentinel://host:26379/0")
        own = {ours: options.pop(name) for name, ours in _SENTINEL_OWN.items() if name in options}
        ssl = {name: options.pop(name) for name in list(options) if name.startswith("ssl_")}
        if "ssl_cert_reqs" in ssl:
            ssl["ssl_cert_reqs"] = _CERT_REQS.get(ssl["ssl_cert_reqs"], ssl["ssl_cert_reqs"])
        if options:
            raise AddressError(f"has the option {min(options)}, which is not known of Sentinels; leave it out")
        server: dict[str, Any] = {"db": int(database or 0)}
        server |= {name: value for name, value in (("username", username), ("password", password)) if value}
        place = f"{quote(username, safe='')}:{quote(password, safe='')}@" if username or password else ""
        return cls(
            # Each with all of it: kombu goes on with the next when one fails.
            ";".join(
                f"sentinel://{place}{f'[{host}]' if ':' in host else host}:{port}/{database or 0}"
                for host, port in sentinels
            ),
            tuple(sentinels),
            master,
            server,
            {
                **own,
                "socket_connect_timeout": _SENTINEL_S,
                "socket_timeout": _SENTINEL_S,
                **({"ssl": True, **ssl} if ssl else {}),
            },
            ssl,
        )

    @property
    def transport_options(self) -> dict[str, Any]:
        """What kombu's transport and Celery's backend need beside the URL."""
        if not self.sentinels:
            return {}
        # Unless told otherwise, redis-py asks one that is away ten times before it asks the next.
        once = {"retry": Retry(NoBackoff(), 0)}
        return {"master_name": self.master_name, "sentinel_kwargs": {**self.sentinel_options, **once}}


def _check_database(url: str) -> None:
    """What is no number, kombu refuses at the first call, and redis-py takes for 0."""
    split = urlsplit(url)
    options = dict(parse_qsl(split.query))
    if _scheme(url) == "redis+socket":
        given, cure = options.get("virtual_host", ""), "redis+socket:///path/to.sock?virtual_host=0"
    else:
        given, cure = split.path.strip("/") or options.get("db", ""), f"{_scheme(url)}://host:6379/0"
    if given and not (given.isascii() and given.isdigit()):
        raise AddressError(f"has no number for its database; write it as {cure}")


def with_checked_certificate(url: str) -> str:
    """A `rediss://` URL that says how the server's certificate is checked; all else as it is.

    Kombu does not check it unless told to, and Celery refuses a URL that does not say.
    """
    if _scheme(url) != "rediss":
        return url
    if _SAID_CERT_REQS.search(url):
        return _SAID_CERT_REQS.sub(lambda said: said[1] + _CERT_REQS.get(said[2], said[2]), url)
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"


def _scheme(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""
