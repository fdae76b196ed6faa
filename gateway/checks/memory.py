"""Whether a Redis has room left: a full one refuses calls and results."""

from collections.abc import Iterator

from gateway.checks.finding import Finding, Level
from gateway.checks.redis_report import RedisReport

__all__ = ["check_memory"]

_FULL = 0.9


def check_memory(what: str, report: RedisReport) -> Iterator[Finding]:
    """Less than nine tenths of `maxmemory` are used."""
    if report.memory_most and report.memory_used > _FULL * report.memory_most:
        share = report.memory_used / report.memory_most
        yield Finding(
            level=Level.WARNING,
            what=what,
            found=f"{share:.0%} of its maxmemory of {report.memory_most / 2**20:,.0f} MiB are used",
            cure="raise maxmemory, or find what fills it with redis-cli --bigkeys",
        )
