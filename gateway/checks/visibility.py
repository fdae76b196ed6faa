"""When a broker takes a call for lost, against how long a call may run."""

from collections.abc import Iterable, Iterator

from gateway.checks.finding import Finding, Level
from gateway.service import Service
from gateway.visibility import longest_total_s

__all__ = ["check_consumer_timeout", "check_visibility"]

#: RabbitMQ closes the channel of who has not acknowledged a message for so long: `consumer_timeout`, seconds.
_CONSUMER_TIMEOUT_S = 1800.0


def check_visibility(services: Iterable[Service], visibility_timeout_s: float) -> Iterator[Finding]:
    """On Redis: the visibility timeout is longer than the longest call.

    Args:
        services: of the catalogue.
        visibility_timeout_s: seconds after which a message that nobody acknowledged is given to another worker.
    """
    longest_s = longest_total_s(services)
    if visibility_timeout_s <= longest_s:
        yield Finding(
            level=Level.ERROR,
            what="visibility timeout",
            found=f"it is {visibility_timeout_s:g} s, and a call may take {longest_s:g} s (timeouts.total)",
            cure=f"set visibility_timeout to more than {longest_s:g}, or lower timeouts.total",
        )


def check_consumer_timeout(services: Iterable[Service]) -> Iterator[Finding]:
    """On RabbitMQ: calls end before the server's usual consumer timeout. It does not tell its own to clients."""
    longest_s = longest_total_s(services)
    if longest_s >= _CONSUMER_TIMEOUT_S:
        yield Finding(
            level=Level.WARNING,
            what="broker",
            found=f"a call may take {longest_s:g} s (timeouts.total), and RabbitMQ takes it from its worker after"
            f" {_CONSUMER_TIMEOUT_S:g} s unless told otherwise",
            cure=f"set consumer_timeout = {longest_s * 1000 + 600_000:.0f} in rabbitmq.conf (ms), or lower"
            " timeouts.total",
        )
