"""An interceptor that ends its worker without a word."""

import os
import signal

from workers.attempt import Attempt

__all__ = ["kill"]


def kill(attempt: Attempt) -> None:
    """SIGKILL to the worker that was about to send this attempt."""
    os.kill(os.getpid(), signal.SIGKILL)
