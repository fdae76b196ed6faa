"""What a Redis says of itself, read in a few round trips for all the checks that need some of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.fleet import Fleet
from gateway.redis_client import open_sync

__all__ = ["RedisReport"]

#: Seconds for one connection and for one answer.
_PATIENCE_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisReport:
    """The state of one server.

    Attributes:
        server: its id, new with each start.
        version: such as `7.0.15`.
        role: `master`, or `slave` for a replica.
        loading: whether it still reads its data from the disk, and answers nothing else.
        policy: what it evicts when its memory is full, `maxmemory-policy`.
        memory_most: bytes that it may use; 0: no bound of its own.
        memory_used: bytes that it uses.
        appends: whether it writes every change to a log (AOF).
        snapshots: when it writes all its data (RDB), as `save` has it; empty: never; None: it does not tell.
        write_failed: what it last failed to write, `rdb` or `aof`; empty: nothing. It refuses writes then.
        ahead_s: by how much its clock is ahead of this host's, in seconds; less than the round trip counts as nothing.
    """

    server: str
    version: str
    role: str
    loading: bool
    policy: str
    memory_most: int
    memory_used: int
    appends: bool
    snapshots: str | None
    write_failed: str
    ahead_s: float

    @classmethod
    def read(cls, url: str, *, wall: Callable[[], float] = time.time) -> Self:
        """Ask a server. Takes 1.5 s for a connection and as much for each of three answers, at the most.

        Args:
            url: as `Settings` has it.
            wall: this host's clock.

        Raises:
            RedisError, OSError: it does not answer, see `gateway.redis_client.ERRORS`.
        """
        with open_sync(url) as client:
            client.connection_pool.connection_kwargs.update(
                socket_connect_timeout=_PATIENCE_S, socket_timeout=_PATIENCE_S, retry=Retry(NoBackoff(), 0)
            )
            said: Any = client.info()
            ahead_s = 0.0 if said.get("loading") else Fleet(client).clock_skew_s(wall)
            return cls(
                server=str(said.get("run_id", "")),
                version=str(said.get("redis_version", "")),
                role=str(said.get("role", "")),
                loading=bool(said.get("loading")),
                policy=str(said.get("maxmemory_policy", "")),
                memory_most=int(said.get("maxmemory", 0)),
                memory_used=int(said.get("used_memory", 0)),
                appends=bool(said.get("aof_enabled")),
                snapshots=_snapshots(client),
                write_failed=_write_failed(said),
                ahead_s=ahead_s,
            )


def _snapshots(client: Any) -> str | None:
    try:
        found = client.config_get("save")
    except redis.ResponseError:  # hosted servers keep CONFIG to themselves
        return None
    value = found.get("save", "")
    return value.decode() if isinstance(value, bytes) else str(value)


def _write_failed(said: dict[str, Any]) -> str:
    if said.get("aof_enabled") and "err" in (said.get("aof_last_write_status"), said.get("aof_last_bgrewrite_status")):
        return "aof"
    return "rdb" if said.get("rdb_last_bgsave_status") == "err" else ""
