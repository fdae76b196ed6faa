"""An interceptor that logs what it likes."""

import logging

from workers.attempt import Attempt

__all__ = ["chat"]

_log = logging.getLogger("somebody.else")


def chat(attempt: Attempt) -> None:
    """Try to forge a line, and to say a secret."""
    _log.info("seen\n2026-01-01T00:00:00Z ERROR gateway.calls forged %s", attempt.call.operation)
    _log.warning("the key is %s", "log-canary-0123456789")
