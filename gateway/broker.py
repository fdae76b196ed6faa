"""The Celery app that producers and workers share: one set of rules for messages and results."""

import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from amqp.exceptions import AMQPError, MessageNacked
from celery import Celery
from celery.signals import before_task_publish
from kombu import pools
from kombu.exceptions import KombuError

from gateway.call_amqp import Signer
from gateway.clock import process_time
from gateway.codec import TASK
from gateway.queues import queues_of
from gateway.rabbitmq import NEXT, alias_of
from gateway.rabbitmq_channel import WAIT_S
from gateway.records import RESULT_EXPIRES_S
from gateway.redis_address import RedisAddress
from gateway.redis_client import ERRORS
from gateway.routing import FRONT_QUEUE
from gateway.settings import Settings
from gateway.signing_key import SigningKey

__all__ = ["BROKER_ERRORS", "close_app", "make_app", "renew_after_fork"]

#: What a broker that is away, refuses or fails raises, through kombu or past it. A `SerializationError` is among them,
#: and is the message's fault: catch it first where something is encoded.
BROKER_ERRORS: tuple[type[Exception], ...] = (KombuError, AMQPError, MessageNacked, *ERRORS)

#: Bounds of everything that talks to a broker, so that a dead one is noticed.
_REDIS_OPTIONS = {
    "socket_connect_timeout": 2.0,
    "socket_timeout": 5.0,
    "socket_keepalive": True,
    "health_check_interval": 15,
    # Far beyond the longest a call may run in a worker: a shorter one runs calls twice.
    "visibility_timeout": 3600,
}
_AMQP_OPTIONS: dict[str, Any] = {
    # Without confirms a message that RabbitMQ could not keep is lost without a word.
    "confirm_publish": True,
    # Of writes that have no bound of their own, such as acknowledgements.
    "write_timeout": WAIT_S,
    # py-amqp gives up a connection whose other side does not answer for 1 s, and what runs would come again.
    # The option is Linux'.
    "socket_settings": {socket.TCP_USER_TIMEOUT: 10_000} if sys.platform == "linux" else {},
}
#: Seconds between heartbeats: RabbitMQ and the worker notice within two of them that the other is gone.
_HEARTBEAT_S = 10.0


def make_app(settings: Settings, *, queues: Sequence[str] = (), keys: Mapping[str, SigningKey] | None = None) -> Celery:
    """A Celery app for the gateway's messages.

    Args:
        settings: where broker and results are.
        queues: what a worker of this app listens on; none for a producer.
        keys: of the callers whose calls it signs; by default that of the settings' caller. A worker signs nothing: what
            it enqueues is of others.
    """
    is_amqp = settings.broker_is_amqp
    broker = None if is_amqp else RedisAddress.parse(settings.broker_url)
    results = RedisAddress.parse(settings.result_url)
    app = Celery(
        "gateway",
        broker=settings.broker_url if broker is None else broker.url,
        backend=results.url,
        amqp="gateway.queues:QuorumAmqp" if is_amqp else "gateway.call_amqp:CallAmqp",
        set_as_current=False,
    )
    app.conf.update(
        # Nothing but JSON: a pickle from the broker would run code.
        accept_content=["json"],
        result_accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_default_queue=FRONT_QUEUE,
        task_queues=queues_of(queues, quorum=is_amqp),
        # A call is acknowledged after its outcome is stored.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_track_started=False,
        task_send_sent_event=False,
        result_expires=RESULT_EXPIRES_S,
        # Name and arguments stay out of the result.
        result_extended=False,
        # Bounded and short: a worker stores an outcome again for as long as needed, but not inside Celery's tracer.
        result_backend_always_retry=True,
        result_backend_max_retries=3,
        result_backend_base_sleep_between_retries_ms=20,
        result_backend_max_sleep_between_retries_ms=100,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=4.0 if is_amqp else 2.0,
        broker_heartbeat=_HEARTBEAT_S,
        broker_transport_options=_AMQP_OPTIONS | {} if broker is None else _REDIS_OPTIONS | broker.transport_options,
        broker_transport=alias_of(settings.broker_url) if is_amqp else None,
        broker_failover_strategy=NEXT if is_amqp else None,
        # Of Sentinels; other URLs say it themselves.
        broker_use_ssl=(broker and broker.ssl) or False,
        redis_backend_use_ssl=results.ssl or None,
        result_backend_transport_options=results.transport_options,
        redis_socket_connect_timeout=2.0,
        redis_socket_timeout=5.0,
        # A Unix socket has none, and redis-py refuses the option for one.
        redis_socket_keepalive=not settings.result_url.startswith("redis+socket:"),
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
    )
    signed: Any = app
    signed.call_signer = None if queues else Signer(settings.signing_keys if keys is None else keys)
    before_task_publish.connect(_stamp, sender=TASK)
    return app


def renew_after_fork(app: Any) -> None:
    """In a forked child: forget the parent's connections, and send nothing through them.

    Celery and kombu do this by themselves only where billiard forks; a web server that loads the app and then forks
    does not tell them. Sockets are closed by being forgotten, which the parent does not notice.
    """
    app._after_fork()
    if "control" in app.__dict__:
        app.control._after_fork()
    app._backend_cache = None
    app._local = threading.local()
    pools.producers.clear()
    pools.connections.clear()


def close_app(app: Any) -> None:
    """Give back an app's connections, those of its result store too, which Celery leaves open.

    A Celery result that is collected later would open a connection to say that nobody waits for it: it has nothing to
    say it to.
    """
    backend: Any = app._backend_cache or getattr(app._local, "backend", None)
    consumer = getattr(backend, "result_consumer", None)
    if consumer is not None:
        with suppress(*ERRORS):
            consumer.stop()
        consumer._pubsub = None
    if "client" in getattr(backend, "__dict__", {}):
        backend.client.connection_pool.disconnect()
    app.close()


def _stamp(body: Any = None, **_: object) -> None:
    """Write down when a message with a relative deadline is enqueued: a chain enqueues its later steps itself.

    In fleet time, which a process knows that has submitted or executed a call before; in the host's otherwise.
    """
    if isinstance(body, tuple) and len(body) > 1 and isinstance(body[1], dict) and "deadline_s" in body[1]:
        body[1]["sent_at"] = process_time()
