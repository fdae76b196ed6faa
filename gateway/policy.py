"""How patient and how careful the gateway is with a service: small value objects, merged by one function."""

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["Breaker", "Connections", "Limit", "Policy", "PolicyError", "ReplyBounds", "Retry", "Timeouts", "merge"]


class PolicyError(ValueError):
    """Values that contradict each other; says which, and the cure."""


def _positive(section: str, **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not 0 < value < float("inf"):
            raise PolicyError(f"{section}.{name} = {value}: a positive number is needed")


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of a call in the worker, in seconds. All of them act on every request.

    Attributes:
        total: the call in the worker, over all attempts.
        attempt: one attempt, from asking for a connection to the last byte of the reply.
        connect: name resolution, TCP and TLS of a new connection.
        pool: waiting for a free connection.
        read: longest silence while a reply is awaited or read; None: only `attempt` bounds it.
    """

    total: float = 10.0
    attempt: float = 3.0
    connect: float = 1.0
    pool: float = 1.0
    read: float | None = None

    def __post_init__(self) -> None:
        _positive(
            "timeouts", total=self.total, attempt=self.attempt, connect=self.connect, pool=self.pool, read=self.read
        )
        if self.attempt > self.total:
            raise PolicyError(
                f"timeouts.attempt = {self.attempt} is longer than timeouts.total = {self.total}; lower `attempt`"
            )


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When and how often a failed attempt is repeated.

    Attributes:
        attempts: requests in all, the first one included.
        backoff, max_backoff: first and longest wait between two attempts, in seconds.
        budget: retries as a share of the service's calls.
    """

    attempts: int = 3
    backoff: float = 0.1
    max_backoff: float = 5.0
    budget: float = 0.2

    def __post_init__(self) -> None:
        _positive("retry", attempts=self.attempts, backoff=self.backoff, max_backoff=self.max_backoff)
        if not 0 <= self.budget <= 1:
            raise PolicyError(f"retry.budget = {self.budget}: a share from 0 to 1 is needed")


class Breaker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When calls to a failing service stop, and when they are tried again (pybreaker's terms).

    Attributes:
        fail_max: failures in a row that open the breaker.
        reset_timeout: seconds until it lets probes through.
        success_threshold: probes that must succeed before it closes.
    """

    fail_max: int = 5
    reset_timeout: float = 30.0
    success_threshold: int = 2

    def __post_init__(self) -> None:
        _positive(
            "breaker",
            fail_max=self.fail_max,
            reset_timeout=self.reset_timeout,
            success_threshold=self.success_threshold,
        )


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a service is asked at most.

    Attributes:
        concurrency: calls at once.
        rate: calls in a time, such as `"200/s"`, `"30/m"`, `"1000/h"`; None: no limit.
    """

    concurrency: int = 100
    rate: str | None = None

    def __post_init__(self) -> None:
        _positive("limit", concurrency=self.concurrency)
        if self.rate is not None:
            count, _, unit = self.rate.partition("/")
            if not count.isdecimal() or int(count) < 1 or unit not in ("s", "m", "h"):
                raise PolicyError(f'limit.rate = "{self.rate}": write for example "200/s", "30/m" or "1000/h"')


class Connections(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A service's pool, for each protocol and worker process.

    Attributes:
        max: open connections at most; a call that finds none free waits for `timeouts.pool`.
        keepalive: seconds that an idle connection is kept open.
    """

    max: int = 300
    keepalive: float = 15.0

    def __post_init__(self) -> None:
        _positive("connections", max=self.max, keepalive=self.keepalive)


class ReplyBounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a reply may cost.

    Attributes:
        max_bytes: decoded body, or all messages of a stream together.
        max_messages: messages that are collected from a gRPC server stream.
    """

    max_bytes: int = 8 * 1024 * 1024
    max_messages: int = 1000

    def __post_init__(self) -> None:
        _positive("reply", max_bytes=self.max_bytes, max_messages=self.max_messages)


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of a call's policy, resolved."""

    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    limit: Limit = Limit()
    connections: Connections = Connections()
    reply: ReplyBounds = ReplyBounds()


#: The tables that `[defaults]`, a service and an operation may have.
SECTIONS = tuple(Policy.__struct_fields__)


def merge(*layers: Mapping[str, Mapping[str, Any]]) -> Policy:
    """The policy of several layers of tables, the later one winning value by value.

    Raises:
        msgspec.ValidationError: a table has an unknown key, a value of the wrong type or one that contradicts another.
    """
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, values in layer.items():
            merged.setdefault(section, {}).update(values)
    return msgspec.convert(merged, Policy)
