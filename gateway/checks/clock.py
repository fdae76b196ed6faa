"""This host's clock against the one by which deadlines go."""

from collections.abc import Iterator

from gateway.checks.finding import Finding, Level

__all__ = ["check_clock"]

#: A clock that is further from the fleet's is worth a word.
_SKEW_S = 1.0


def check_clock(ahead_s: float) -> Iterator[Finding]:
    """The result store's clock is near this host's.

    Args:
        ahead_s: by how much it is ahead, in seconds.
    """
    if abs(ahead_s) <= _SKEW_S:
        return
    side = "behind" if ahead_s > 0 else "ahead of"
    yield Finding(
        level=Level.WARNING,
        what="clock",
        found=f"this host's clock is {abs(ahead_s):.1f} s {side} the result store's, by which deadlines go; log lines"
        " and messages of producers without this package go by the host's",
        cure="set both by NTP",
    )
