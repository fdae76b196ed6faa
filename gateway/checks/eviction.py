"""A Redis that is full may refuse; it may not throw away. Queues, claims and results are ordinary keys to it."""

from collections.abc import Iterator, Mapping

from gateway.checks.finding import Finding, Level
from gateway.checks.redis_report import RedisReport

__all__ = ["ALLOW", "check_eviction"]

#: The variable that lets a worker start nevertheless.
ALLOW = "GATEWAY_ALLOW_EVICTION"


def check_eviction(what: str, report: RedisReport, environ: Mapping[str, str]) -> Iterator[Finding]:
    """`maxmemory-policy` is `noeviction`."""
    if report.policy in ("", "noeviction"):
        return
    yield Finding(
        level=Level.WARNING if environ.get(ALLOW) == "1" else Level.ERROR,
        what=what,
        found=f"maxmemory-policy is {report.policy}: when its memory is full, calls and results are thrown away",
        cure=f"set maxmemory-policy to noeviction, or {ALLOW}=1 to take the loss",
    )
