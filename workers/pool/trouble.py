"""What an error of a store or a broker means for the next try."""

from collections.abc import Iterator

from amqp.exceptions import IrrecoverableChannelError, RecoverableConnectionError
from kombu.exceptions import SerializationError
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.broker import BROKER_ERRORS
from gateway.rabbitmq_channel import UnroutableError

__all__ = ["is_away", "is_for_good"]

_AWAY = (
    OSError,
    RecoverableConnectionError,
    RedisConnectionError,
    RedisTimeoutError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
)


def is_away(error: BaseException) -> bool:
    """Whether the server itself fails, for whatever is asked; otherwise it may be this one thing that it refuses."""
    return any(isinstance(cause, _AWAY) and not isinstance(cause, UnroutableError) for cause in _causes(error))


def is_for_good(error: BaseException) -> bool:
    """Whether a message that could not be enqueued cannot be enqueued later either.

    No queue takes it, its exchange is gone, the broker forbids it, or it is no message at all. A negative confirm is
    not among these: a quorum queue gives one while it has no majority.
    """
    causes = list(_causes(error))
    if any(isinstance(cause, UnroutableError | IrrecoverableChannelError | SerializationError) for cause in causes):
        return True
    return not any(isinstance(cause, (*BROKER_ERRORS, OSError)) for cause in causes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__
