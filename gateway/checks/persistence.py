"""Whether what a Redis holds is still there after it was restarted."""

from collections.abc import Iterator

from gateway.checks.finding import Finding, Level
from gateway.checks.redis_report import RedisReport

__all__ = ["check_persistence"]


def check_persistence(what: str, report: RedisReport) -> Iterator[Finding]:
    """It writes a log of every change, and its last write did not fail."""
    if report.write_failed:
        yield Finding(
            level=Level.ERROR,
            what=what,
            found=f"its last write to the disk failed ({report.write_failed}), and it may refuse changes for that",
            cure="see its log; often the disk is full",
        )
    if report.appends:
        return
    if report.snapshots is None:
        yield Finding(
            level=Level.WARNING,
            what=what,
            found="it does not tell whether it keeps its data over a restart",
            cure="see in its provider's console that append-only files are on",
        )
    elif report.snapshots:
        yield Finding(
            level=Level.WARNING,
            what=what,
            found=f"it keeps snapshots alone (save {report.snapshots}): a restart loses what came since the last one",
            cure="set appendonly yes",
        )
    else:
        yield Finding(
            level=Level.WARNING,
            what=what,
            found="it keeps nothing over a restart: every call that waits, and every result, is lost with it",
            cure="set appendonly yes",
        )
