"""Whether RabbitMQ answers, is new enough, and takes calls."""

from collections.abc import Iterator
from typing import Any

from gateway.broker import BROKER_ERRORS
from gateway.checks.finding import Finding, Level

__all__ = ["check_rabbitmq"]

_WHAT = "broker"
#: Seconds for a connection, and for the answer to a message.
_PATIENCE_S = 2.0
#: For a list of servers in turn.
_CONNECT_S = 4
#: From this version on quorum queues let messages expire, by which calls with a countdown wait.
_OLDEST = (3, 10)
#: A queue that nobody has: the server drops what is sent to it, and confirms that.
_NOWHERE = "gateway.nowhere"


def check_rabbitmq(url: str, *, starting: bool) -> Iterator[Finding]:
    """It answers, is of a version that has what we need, and confirms a message.

    Args:
        url: of the broker; the first server of a list that answers is looked at.
        starting: a worker asks. It may start although the server takes no calls, and helps to empty it then.

    Raises:
        What `gateway.broker.BROKER_ERRORS` has: it does not answer.
    """
    from kombu import Connection

    with Connection(
        url,
        connect_timeout=_PATIENCE_S,
        transport_options={
            "confirm_publish": True,
            "read_timeout": _PATIENCE_S,
            "write_timeout": _PATIENCE_S,
            "max_retries": 0,
        },
    ) as connection:
        connection.ensure_connection(max_retries=max(1, len(connection.alt)), interval_start=0, timeout=_CONNECT_S)
        properties: dict[str, Any] = connection.connection.server_properties
        version = str(properties.get("version", ""))
        yield from _version(str(properties.get("product", "the server")), version)
        yield from _alarm(connection, starting)


def _version(product: str, version: str) -> Iterator[Finding]:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if product == "RabbitMQ" and len(numbers) == 2 and numbers < _OLDEST:
        yield Finding(
            level=Level.ERROR,
            what=_WHAT,
            found=f"RabbitMQ {version} has no quorum queues whose messages expire",
            cure=f"use {'.'.join(map(str, _OLDEST))} or newer",
        )
        return
    yield Finding(level=Level.OK, what=_WHAT, found=f"{product} {version} answers".replace("  ", " "))


def _alarm(connection: Any, starting: bool) -> Iterator[Finding]:
    """A server with a memory or disk alarm reads nothing more from a connection that has published once."""
    channel = connection.channel()
    try:
        for _ in range(2):
            message = channel.prepare_message(b"")
            channel.basic_publish_confirm(message, "", _NOWHERE, confirm_timeout=_PATIENCE_S)
    except BROKER_ERRORS as error:
        # Nothing that is sent is read any more, a goodbye neither.
        channel.connection.collect()
        yield Finding(
            level=Level.WARNING if starting else Level.ERROR,
            what=_WHAT,
            found=f"it takes no messages ({type(error).__name__}): a memory or disk alarm is on",
            cure="see `rabbitmqctl status`; workers empty its queues, or free its disk",
        )
