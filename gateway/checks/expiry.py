"""How long results are kept, against how long somebody may still ask for them or execute their call again."""

from collections.abc import Iterator

from gateway.checks.finding import Finding, Level
from gateway.envelope import MAX_DEADLINE_S
from gateway.pending import RESULT_MARGIN_S

__all__ = ["check_expiry", "horizon_s"]


def horizon_s() -> float:
    """Seconds from when a result is stored until nobody waits for it, and no copy of its call can come back in time.

    The result of a call with the longest deadline may be stored at once: its producer may come for it at the end, and
    until then a worker that finds no result would execute a copy of the call.
    """
    return MAX_DEADLINE_S + RESULT_MARGIN_S


def check_expiry(result_expires_s: float) -> Iterator[Finding]:
    """Results outlive the longest deadline.

    Args:
        result_expires_s: how long they are kept; 0: for ever, as Celery has it.
    """
    if 0 < result_expires_s <= horizon_s():
        yield Finding(
            level=Level.ERROR,
            what="result expiry",
            found=f"results expire after {result_expires_s:g} s, and a call may be waited for, and come again, for"
            f" {horizon_s():g} s",
            cure=f"set result_expires to more than {horizon_s():g}",
        )
