"""An interceptor that does what none may: it holds up the loop of the calls."""

import time

from workers.attempt import Attempt

__all__ = ["block"]


def block(attempt: Attempt) -> None:
    """Sleep, for one route."""
    if attempt.call.operation == "GET /blocks":
        time.sleep(60)
