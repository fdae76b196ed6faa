"""How patient and how careful the gateway is with a service: small value objects, merged by one function."""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

__all__ = [
    "Breaker",
    "Connections",
    "Hedge",
    "Limit",
    "Policy",
    "PolicyError",
    "ReplyBounds",
    "Retry",
    "Timeouts",
    "merge",
]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}

#: The status codes that gRPC defines, without OK.
GRPC_CODES = frozenset(
    (
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    )
)


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

    What was not sent may always be repeated, what may have been sent only if the call is idempotent. What the service
    answered is repeated if the table says so.

    Attributes:
        attempts: requests in all, the first one included; 1 switches retries off.
        backoff, max_backoff: bound of the first wait between two attempts, and of the longest, in seconds. The bound
            doubles with each attempt, and the wait is anything from 0 to it ("full jitter", Brooker 2015).
        statuses: answers after which an idempotent call is repeated: HTTP statuses and names of gRPC codes.
        refused: answers by which the service says that it did nothing, after which any call is repeated. A 503 with a
            `Retry-After` counts among them (RFC 9110, section 10.2.3).
        budget: retries as a share of the service's calls, over the whole fleet.
        budget_per_s: retries a second that are allowed besides.
    """

    attempts: int = 3
    backoff: float = 0.1
    max_backoff: float = 5.0
    statuses: tuple[int | str, ...] = (408, 425, 429, 502, 503, 504, "RESOURCE_EXHAUSTED", "UNAVAILABLE")
    refused: tuple[int | str, ...] = (408, 425, 429, "RESOURCE_EXHAUSTED")
    budget: float = 0.2
    budget_per_s: float = 10.0

    def __post_init__(self) -> None:
        _positive("retry", attempts=self.attempts, backoff=self.backoff, max_backoff=self.max_backoff)
        if not 0 <= self.budget <= 1:
            raise PolicyError(f"retry.budget = {self.budget}: a share from 0 to 1 is needed")
        if not 0 <= self.budget_per_s < float("inf"):
            raise PolicyError(f"retry.budget_per_s = {self.budget_per_s}: 0 or a positive number is needed")
        for name, table in (("statuses", self.statuses), ("refused", self.refused)):
            for status in table:
                if isinstance(status, str) and status not in GRPC_CODES:
                    raise PolicyError(
                        f'retry.{name} has "{status}", which is no gRPC status code; write for example "UNAVAILABLE"'
                    )
                if isinstance(status, int) and not 400 <= status <= 599:
                    raise PolicyError(f"retry.{name} has {status}; only HTTP statuses from 400 to 599 can be repeated")


class Breaker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When calls to a failing service stop, and when they are tried again (pybreaker's terms).

    Three rules open it: failures in a row, the share of failures in a window, the share of slow calls in it. Each
    worker judges by what it sees, and all act on it.

    Attributes:
        enabled: false: calls go on whatever happens.
        fail_max: failures in a row that open it.
        reset_timeout: seconds until it lets probes through.
        success_threshold: probes that must succeed before it closes.
        probes: how many are let through in all, over the whole fleet; None: as many as must succeed.
        window: seconds that the two shares are taken over.
        min_calls: calls in the window from which on the shares count.
        failure_rate: share of failures that opens it; None: the rule is off.
        slow_call: seconds from which on a call is slow; None: the rule is off.
        slow_rate: share of slow calls that opens it.
    """

    enabled: bool = True
    fail_max: int = 5
    reset_timeout: float = 30.0
    success_threshold: int = 2
    probes: int | None = None
    window: float = 10.0
    min_calls: int = 20
    failure_rate: float | None = 0.5
    slow_call: float | None = None
    slow_rate: float = 0.8

    def __post_init__(self) -> None:
        _positive(
            "breaker",
            fail_max=self.fail_max,
            reset_timeout=self.reset_timeout,
            success_threshold=self.success_threshold,
            probes=self.probes,
            window=self.window,
            min_calls=self.min_calls,
            failure_rate=self.failure_rate,
            slow_call=self.slow_call,
            slow_rate=self.slow_rate,
        )
        for name, share in (("failure_rate", self.failure_rate), ("slow_rate", self.slow_rate)):
            if share is not None and share > 1:
                raise PolicyError(f"breaker.{name} = {share}: a share of at most 1 is needed; write 0.5 for a half")
        if self.probes is not None and self.probes < self.success_threshold:
            raise PolicyError(
                f"breaker.probes = {self.probes} are fewer than breaker.success_threshold = {self.success_threshold},"
                " so it could never close; raise `probes`"
            )

    @property
    def probe_count(self) -> int:
        """How many probes are let through."""
        return self.success_threshold if self.probes is None else self.probes


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a service is asked at most, by the whole fleet.

    Attributes:
        concurrency: attempts at once.
        adaptive: find the right concurrency from latency, with `concurrency` as the most.
        rate: attempts in a time, such as `"200/s"`, `"30/m"`, `"1000/h"`; None: no limit.
        burst: attempts that may come at once; 1 spaces them evenly.
        queue: calls that may wait, in the service's queue or parked; `submit` refuses more. None: no bound but the
            broker's memory. A call takes about 2 kB of that.
    """

    concurrency: int = 100
    adaptive: bool = False
    rate: str | None = None
    burst: int = 1
    queue: int | None = 200_000

    def __post_init__(self) -> None:
        _positive("limit", concurrency=self.concurrency, burst=self.burst, queue=self.queue)
        if self.rate is not None:
            count, _, unit = self.rate.partition("/")
            if not count.isdecimal() or not count.isascii() or int(count) < 1 or unit not in _UNITS:
                raise PolicyError(f'limit.rate = "{self.rate}": write for example "200/s", "30/m" or "1000/h"')

    @property
    def interval_s(self) -> float:
        """Seconds from one attempt to the next at this rate; 0 without one."""
        if self.rate is None:
            return 0.0
        count, _, unit = self.rate.partition("/")
        return _UNITS[unit] / int(count)


class Hedge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a second attempt is started beside the first (Dean and Barroso, "The Tail at Scale", 2013).

    Only for idempotent calls, and paid from the retry budget. Off unless one of the two is set.

    Attributes:
        after: seconds without an answer after which the second attempt starts.
        percentile: the same, as the percentile of the operation's latest latencies, such as 95.
    """

    after: float | None = None
    percentile: float | None = None

    def __post_init__(self) -> None:
        _positive("hedge", after=self.after, percentile=self.percentile)
        if self.after is not None and self.percentile is not None:
            raise PolicyError("hedge.percentile is given with hedge.after; leave one of them out")
        if self.percentile is not None and not 50 <= self.percentile < 100:
            raise PolicyError(f"hedge.percentile = {self.percentile}: a number from 50 to below 100 is needed")

    @property
    def enabled(self) -> bool:
        """Whether there is a second attempt at all."""
        return self.after is not None or self.percentile is not None


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
    hedge: Hedge = Hedge()
    connections: Connections = Connections()
    reply: ReplyBounds = ReplyBounds()


#: The tables that `[defaults]`, a service and an operation may have.
SECTIONS = tuple(Policy.__struct_fields__)
#: Their values that may be off.
_NULLABLE = {
    section.name: frozenset(
        field.name for field in msgspec.structs.fields(section.type) if type(None) in get_args(field.type)
    )
    for section in msgspec.structs.fields(Policy)
}


def merge(*layers: Mapping[str, Mapping[str, Any]]) -> Policy:
    """The policy of several layers of tables, the later one winning value by value.

    `false` switches off what may be off, such as an inherited `limit.rate`: TOML has no null.

    Raises:
        msgspec.ValidationError: a table has an unknown key, a value of the wrong type or one that contradicts another.
    """
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, values in layer.items():
            off = _NULLABLE.get(section, frozenset())
            merged.setdefault(section, {}).update(
                (name, None if value is False and name in off else value) for name, value in values.items()
            )
    return msgspec.convert(merged, Policy)
