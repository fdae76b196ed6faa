"""What an attempt's end says about the health of its service."""

from enum import Enum, auto

from gateway.errors import (
    CircuitOpenError,
    InvalidReplyError,
    RateLimitedError,
    ServiceFaultError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.outcome import Failure
from workers.attempt import Answer

__all__ = ["Health", "health_of"]

_BAD = (ServiceUnavailableError, ServiceTimeoutError, ServiceFaultError, InvalidReplyError)


class Health(Enum):
    """What the breaker counts."""

    GOOD = auto()
    """The service answered, if only with no."""

    BAD = auto()
    """It is away, too slow, broken, or talks nonsense."""

    NEUTRAL = auto()
    """Nothing can be said: it was not asked, or someone else ended the attempt."""


def health_of(result: Answer | Failure, *, cut_short: bool) -> Health:
    """The health that one attempt shows; a cancelled attempt has no result and is `NEUTRAL`.

    Args:
        result: how the attempt ended.
        cut_short: it had less time than the service's policy allows, by its caller's deadline or wish. A timeout then
            says more about the caller than about the service.
    """
    # A service that is asked too often lives, and says so; its limit is not the breaker's business.
    if isinstance(result, Answer) or issubclass(result.error, ServiceRejectedError | RateLimitedError):
        return Health.GOOD
    if issubclass(result.error, CircuitOpenError) or not issubclass(result.error, _BAD):
        return Health.NEUTRAL
    if issubclass(result.error, ServiceTimeoutError) and (cut_short or result.extra.get("phase") == "pool"):
        # The pool is the gateway's own.
        return Health.NEUTRAL
    return Health.BAD
