"""What a worker does otherwise on RabbitMQ: poisonous messages, and how many messages it takes beforehand."""

from typing import Any

from celery.utils.log import get_logger

from gateway.dead_letter import Reason
from gateway.queues import DEAD_QUEUE, DELIVERY_LIMIT
from workers.refusal import poisoned, refuse

__all__ = ["end_dead", "prefetch_of_each"]

logger = get_logger(__name__)

#: Messages taken beforehand over all queues, in calls at once; and the least of one queue.
_ALL_QUEUES, _LEAST = 4, 8


def prefetch_of_each(prefetch: int, queues: int) -> int:
    """How many unacknowledged messages of each queue a worker has at most.

    Quorum queues count them for each queue alone, so a worker of 500 services would take 500 times as many as it can
    perform, and leave none for others.

    Args:
        prefetch: as for one queue: calls at once.
        queues: how many it consumes.
    """
    return max(min(prefetch, -(-prefetch * _ALL_QUEUES // max(queues, 1))), min(prefetch, _LEAST))


def end_dead(consumer: Any, message: Any) -> bool:
    """End a message that comes from the dead-letter queue; False if it is to be handled like any other."""
    if (message.delivery_info or {}).get("exchange") != DEAD_QUEUE:
        return False
    match message.headers.get("x-death"):
        case [{"reason": "delivery_limit"}, *_]:
            refuse(consumer, message, poisoned(DELIVERY_LIMIT + 1), _payload(message), Reason.POISONOUS)
        case [{"reason": "rejected"}, *_]:
            # It was refused, and what it ended with is stored.
            message.ack_log_error(logger, consumer.connection_errors)
        case _:
            return False
    return True


def _payload(message: Any) -> object:
    try:
        return message.payload
    except Exception:  # whatever a decoder raises: the letter says what is known without
        return None
