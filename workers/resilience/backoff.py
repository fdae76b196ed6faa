"""How long to wait before an attempt is repeated."""

from collections.abc import Callable

from gateway.policy import Retry

__all__ = ["backoff_s"]

#: The largest power of two that a float holds; a product beyond that is `inf`, which `max_backoff` caps.
_MOST_DOUBLINGS = 1023


def backoff_s(attempt: int, retry: Retry, random: Callable[[], float]) -> float:
    """Seconds to wait: anything from 0 to a bound that doubles with each failure.

    "Full jitter", which spreads those who failed together over the whole time (Marc Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).

    Args:
        attempt: how many attempts failed so far. Failed probes count for nothing, so it may be 0, which is as 1.
        retry: `backoff` is the bound after the first failure, `max_backoff` the largest bound.
        random: a number from 0 to below 1.
    """
    doublings = min(max(attempt, 1) - 1, _MOST_DOUBLINGS)
    return random() * min(retry.max_backoff, retry.backoff * 2.0**doublings)
