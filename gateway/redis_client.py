"""Clients of the Redis that holds results and state, for the gateway's own records.

redis-py's default client retries a command ten times, which hides an outage from those who must react to it; ours
fails after one new connection.
"""

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


def _plain(url: str) -> str:
    """Celery's name of a Unix socket is not redis-py's."""
    return url.replace("redis+socket://", "unix://", 1)


def open_sync(url: str) -> redis.Redis:
    """A blocking client; it connects on first use and may be shared by threads."""
    return redis.Redis.from_url(
        _plain(url),
        socket_connect_timeout=_CONNECT_S,
        socket_timeout=_ANSWER_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),
    )


def open_async(url: str) -> redis.asyncio.Redis:
    """An asyncio client; it connects on first use, on the loop that uses it."""
    return redis.asyncio.Redis.from_url(
        _plain(url),
        socket_connect_timeout=_CONNECT_S,
        socket_timeout=_ANSWER_S,
        socket_keepalive=True,
        retry=AsyncRetry(NoBackoff(), 1),
    )
