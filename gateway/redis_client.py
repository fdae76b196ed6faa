"""Clients of the Redis that holds results and state, for the gateway's own records.

redis-py's default client retries a command ten times, which hides an outage from those who must react to it; ours
fails after one new connection.

Addresses are Celery's: `redis://`, `rediss://` and `redis+socket://`. Sentinel is not among them, see `Settings`.
"""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ["ERRORS", "open_async", "open_sync"]

#: What an unreachable or failing Redis raises.
ERRORS: tuple[type[Exception], ...] = (redis.RedisError, OSError)

_CONNECT_S = 2.0
_ANSWER_S = 5.0
_SOCKET = "redis+socket"


def open_sync(url: str) -> redis.Redis:
    """A blocking client; it connects on first use and may be shared by threads."""
    return redis.Redis.from_url(_plain(url), retry=Retry(NoBackoff(), 1), **_bounds(url))


def open_async(url: str) -> redis.asyncio.Redis:
    """An asyncio client; it connects on first use, on the loop that uses it."""
    return redis.asyncio.Redis.from_url(_plain(url), retry=AsyncRetry(NoBackoff(), 1), **_bounds(url))


def _plain(url: str) -> str:
    """Celery's name of a Unix socket, and of the database behind it, are not redis-py's."""
    parts = urlsplit(url)
    if parts.scheme != _SOCKET:
        return url
    query = [("db" if name == "virtual_host" else name, value) for name, value in parse_qsl(parts.query)]
    # By hand: a URL without a host would lose its two slashes.
    return f"unix://{parts.netloc}{parts.path}?{urlencode(query)}"


def _bounds(url: str) -> dict[str, Any]:
    bounds: dict[str, Any] = {"socket_connect_timeout": _CONNECT_S, "socket_timeout": _ANSWER_S}
    if urlsplit(url).scheme != _SOCKET:
        # A Unix socket needs no keepalive, and redis-py refuses the option for one.
        bounds["socket_keepalive"] = True
    return bounds
