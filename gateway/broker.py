"""The Celery app that producers and workers share: one set of rules for messages and results."""

import threading
from collections.abc import Sequence
from typing import Any

from amqp.exceptions import AMQPError, MessageNacked
from celery import Celery
from celery.signals import before_task_publish
from kombu import Exchange, Queue, pools
from kombu.exceptions import KombuError

from gateway.clock import process_time
from gateway.codec import TASK
from gateway.records import RESULT_EXPIRES_S
from gateway.redis_client import ERRORS
from gateway.routing import FRONT_QUEUE
from gateway.settings import Settings

__all__ = ["BROKER_ERRORS", "make_app", "renew_after_fork"]

#: What a broker that is away, refuses or fails raises, through kombu or past it. A `SerializationError` is among them,
#: and is the message's fault: catch it first where something is encoded.
BROKER_ERRORS: tuple[type[Exception], ...] = (KombuError, AMQPError, MessageNacked, *ERRORS)

#: Bounds of everything that talks to a broker, so that a dead one is noticed.
_REDIS_OPTIONS = {
    "socket_connect_timeout": 2.0,
    "socket_timeout": 10.0,
    "socket_keepalive": True,
    "health_check_interval": 15,
    # Far beyond the longest a call may run in a worker: a shorter one runs calls twice.
    "visibility_timeout": 3600,
}
#: Without confirms a message that RabbitMQ could not keep is lost without a word.
_AMQP_OPTIONS = {"confirm_publish": True}


def make_app(settings: Settings, *, queues: Sequence[str] = ()) -> Celery:
    """A Celery app for the gateway's messages.

    Args:
        settings: where broker and results are.
        queues: what a worker of this app listens on.
    """
    app = Celery("gateway", broker=settings.broker_url, backend=settings.result_url, set_as_current=False)
    app.conf.update(
        # Nothing but JSON: a pickle from the broker would run code.
        accept_content=["json"],
        result_accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_default_queue=FRONT_QUEUE,
        # Each with an exchange of its own, as Celery makes them by itself: in a shared one a message reaches all.
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in queues] or None,
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
        broker_connection_timeout=2.0,
        broker_transport_options=_AMQP_OPTIONS if settings.broker_is_amqp else _REDIS_OPTIONS,
        redis_socket_connect_timeout=2.0,
        redis_socket_timeout=10.0,
        # A Unix socket has none, and redis-py refuses the option for one.
        redis_socket_keepalive=not settings.result_url.startswith("redis+socket:"),
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
    )
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


def _stamp(body: Any = None, **_: object) -> None:
    """Write down when a message with a relative deadline is enqueued: a chain enqueues its later steps itself.

    In fleet time, which a process knows that has submitted or executed a call before; in the host's otherwise.
    """
    if isinstance(body, tuple) and len(body) > 1 and isinstance(body[1], dict) and "deadline_s" in body[1]:
        body[1]["sent_at"] = process_time()
