"""How queues are declared: by producers and workers alike, since RabbitMQ refuses whoever does it otherwise."""

from collections.abc import Sequence
from typing import Any

from celery.app.amqp import Queues
from kombu import Exchange, Queue

from gateway.call_amqp import CallAmqp
from gateway.routing import FRONT_QUEUE

__all__ = ["DEAD_QUEUE", "DELIVERY_LIMIT", "QuorumAmqp", "queues_of"]

#: RabbitMQ gives a message to workers this often again, after the first time, before it takes it for poisonous.
DELIVERY_LIMIT = 20

#: Takes poisonous messages. A service's queue cannot have this name.
DEAD_QUEUE = "gateway:dead"
_DEAD_EXCHANGE = Exchange("gateway:dead", type="fanout", durable=True)

#: Of all service queues. Delayed delivery needs a topic exchange.
_EXCHANGE = Exchange("gateway:calls", type="topic", durable=True)

_QUORUM = {"x-queue-type": "quorum"}
_ARGUMENTS = {
    **_QUORUM,
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": _DEAD_EXCHANGE.name,
    # A poisonous message is not lost on its way. RabbitMQ demands the other setting for it; there is no limit to
    # overflow.
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


def queues_of(names: Sequence[str], *, quorum: bool) -> list[Queue] | None:
    """The queues that an app knows from the start; others are made as they are named.

    Args:
        names: what a worker consumes; none for a producer.
        quorum: on RabbitMQ. Workers consume poisonous messages beside.
    """
    if quorum:
        return [*map(_declared, names), _dead_queue()] if names else [_declared(FRONT_QUEUE)]
    # Each with an exchange of its own, as Celery makes them by itself: in a shared one a message reaches all.
    return [Queue(name, Exchange(name), routing_key=name) for name in names] or None


def _declared(name: str) -> Queue:
    if name != FRONT_QUEUE and not name.startswith(f"{FRONT_QUEUE}."):
        # Shared with other applications: as Celery declares it.
        return Queue(name, Exchange(name), routing_key=name)
    # One word: delayed delivery binds `#.<key>`, which must not match the end of another queue's.
    return Queue(name, _EXCHANGE, routing_key=name.replace(".", ":"), queue_arguments=dict(_ARGUMENTS))


def _dead_queue() -> Queue:
    return Queue(DEAD_QUEUE, _DEAD_EXCHANGE, routing_key=DEAD_QUEUE, queue_arguments=dict(_QUORUM))


class QuorumQueues(Queues):
    """Queues of an app on RabbitMQ: one that is missing is made as a worker makes it."""

    def new_missing(self, name: str) -> Queue:
        """A queue that nobody declared here."""
        return _declared(name)

    def select(self, include: Any) -> None:
        """Consume some only (`-Q`), and poisonous messages in any case."""
        super().select(include)
        if include and DEAD_QUEUE in self:
            super().select([*self.consume_from, DEAD_QUEUE])


class QuorumAmqp(CallAmqp):
    """`Celery(amqp="gateway.queues:QuorumAmqp")`."""

    queues_cls = QuorumQueues
