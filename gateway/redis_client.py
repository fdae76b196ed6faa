"""Clients of the Redis that holds results and state, for the gateway's own records.

redis-py's default client retries a command ten times, which hides an outage from those who must react to it; ours
fails after one new connection.

Addresses are Celery's, see `gateway.redis_address`. Behind Sentinels each new connection asks them where the server is;
a server that was demoted ends its connections, or answers that it is read-only, which counts as a lost connection.
"""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.redis_address import RedisAddress, with_checked_certificate

__all__ = ["ERRORS", "open_async", "open_sync"]

#: What an unreachable or failing Redis raises.
ERRORS: tuple[type[Exception], ...] = (redis.RedisError, OSError)

_CONNECT_S = 2.0
_ANSWER_S = 5.0
_SOCKET = "redis+socket"


def open_sync(url: str) -> redis.Redis:
    """A blocking client; it connects on first use and may be shared by threads."""
    address = RedisAddress.parse(url)
    if address.sentinels:
        sentinels: Any = _SENTINELS(address.sentinels, **_of_sentinels(address, Retry(NoBackoff(), 0)))
        client: redis.Redis = sentinels.master_for(address.master_name, retry=Retry(NoBackoff(), 1))
        return client
    return redis.Redis.from_url(_plain(url), retry=Retry(NoBackoff(), 1), **_bounds(url))


def open_async(url: str) -> redis.asyncio.Redis:
    """An asyncio client; it connects on first use, on the loop that uses it."""
    address = RedisAddress.parse(url)
    if address.sentinels:
        sentinels: Any = _ASYNC_SENTINELS(address.sentinels, **_of_sentinels(address, AsyncRetry(NoBackoff(), 0)))
        client: redis.asyncio.Redis = sentinels.master_for(address.master_name, retry=AsyncRetry(NoBackoff(), 1))
        return client
    return redis.asyncio.Redis.from_url(_plain(url), retry=AsyncRetry(NoBackoff(), 1), **_bounds(url))


class _Sentinels(redis.sentinel.Sentinel):
    """Asks over connections of its own each time: those that are kept would be nobody's to close."""

    def discover_master(self, service_name: str) -> Any:
        discover: Any = super().discover_master
        try:
            return discover(service_name)
        finally:
            for sentinel in self.sentinels:
                sentinel.connection_pool.disconnect()


class _AsyncSentinels(redis.asyncio.sentinel.Sentinel):
    """As `_Sentinels`."""

    async def discover_master(self, service_name: str) -> Any:
        try:
            return await super().discover_master(service_name)
        finally:
            for sentinel in self.sentinels:
                await sentinel.connection_pool.disconnect()


# redis-py does not type their constructors.
_SENTINELS: Any = _Sentinels
_ASYNC_SENTINELS: Any = _AsyncSentinels


def _of_sentinels(address: RedisAddress, retry: Any) -> dict[str, Any]:
    tls = {"ssl": True, **address.ssl} if address.ssl else {}
    return {
        "sentinel_kwargs": {**address.sentinel_options, "retry": retry},
        "socket_connect_timeout": _CONNECT_S,
        "socket_timeout": _ANSWER_S,
        "socket_keepalive": True,
        **address.server,
        **tls,
    }


def _plain(url: str) -> str:
    """Celery's name of a Unix socket, and of the database behind it, are not redis-py's."""
    parts = urlsplit(url)
    if parts.scheme != _SOCKET:
        return with_checked_certificate(url)
    query = [("db" if name == "virtual_host" else name, value) for name, value in parse_qsl(parts.query)]
    # By hand: a URL without a host would lose its two slashes.
    return f"unix://{parts.netloc}{parts.path}?{urlencode(query)}"


def _bounds(url: str) -> dict[str, Any]:
    bounds: dict[str, Any] = {"socket_connect_timeout": _CONNECT_S, "socket_timeout": _ANSWER_S}
    if urlsplit(url).scheme != _SOCKET:
        # A Unix socket needs no keepalive, and redis-py refuses the option for one.
        bounds["socket_keepalive"] = True
    return bounds
