"""The Celery app of the workers, for `gateway worker` and for `celery -A workers.app worker`."""

import logging
import os
import socket
from typing import Any

from celery import Celery
from celery.concurrency import get_implementation
from celery.signals import setup_logging, worker_init

from gateway.broker import make_app
from gateway.catalogue import Catalogue, CatalogueError
from gateway.routing import FRONT_QUEUE, queue_of
from gateway.settings import Settings, SettingsError
from gateway.visibility import visibility_timeout_s
from workers.executor import Executor
from workers.outage_log import OutageFilter
from workers.pool import AsyncioPool
from workers.task import CallTask
from workers.unparker import unparker_step

__all__ = ["app", "create_app"]

#: Calls in flight in one worker process. They wait on the network, so one process holds many.
CONCURRENCY = 300

#: The only pool that performs calls.
POOL = "workers.pool:AsyncioPool"

#: Where a plain `app.send_task("gateway.call", …)` that names no queue arrives.
CELERY_QUEUE = "celery"

_log = logging.getLogger("gateway.worker")


def create_app(settings: Settings) -> Celery:
    """The workers' app: listens on the queue of every service of the catalogue.

    Nothing is resolved here, so that Flower, which needs the app alone, starts without addresses and secrets.

    Raises:
        SettingsError: there is no catalogue.
        CatalogueError: the catalogue is wrong.
    """
    if settings.config is None:
        raise SettingsError(
            "GATEWAY_CONFIG is not set, and there is no gateway.toml here; a worker needs its catalogue"
        )
    services = Catalogue.load(settings.config).services
    app = make_app(settings, queues=(FRONT_QUEUE, CELERY_QUEUE, *map(queue_of, services)))
    app.conf.update(
        worker_pool=POOL,
        worker_consumer="workers.consumer:GatewayConsumer",
        worker_concurrency=CONCURRENCY,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # A call whose connection to the broker broke is still worth its reply.
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    if not settings.broker_is_amqp:
        app.conf.broker_transport_options = {
            **app.conf.broker_transport_options,
            "visibility_timeout": visibility_timeout_s(services.values()),
        }
    policies = {name: service.policy for name, service in services.items()}
    app.steps["worker"].add(unparker_step(settings.result_url, policies))
    app.register_task(CallTask(lambda: _executor(settings, app)))
    return app


def _executor(settings: Settings, app: Celery) -> Executor:
    assert settings.config is not None  # noqa: S101 - create_app has refused it
    return Executor(
        Catalogue.load(settings.config, os.environ),
        os.environ,
        result_url=settings.result_url,
        result_prefix=_result_prefix(app),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


def _result_prefix(app: Celery) -> str:
    backend: Any = app.backend
    prefix = backend.task_keyprefix
    return prefix.decode() if isinstance(prefix, bytes) else str(prefix)


def _app_of_environment() -> Celery:
    try:
        settings = Settings.from_env()
        app = create_app(settings)
    except (SettingsError, CatalogueError) as error:
        raise SystemExit(f"gateway: {error}") from None

    def prepare(sender: Any = None, **_: object) -> None:
        """Before the worker connects: what is wrong ends it with one clear message."""
        try:
            _check_pool(sender)
            if settings.broker_url.startswith(("redis://", "rediss://")):
                # Of workers alone: Flower's page of the broker knows kombu's own transports.
                app.conf.broker_transport = "workers.broker.redis:Transport"
            _executor(settings, app).check()
        except ValueError as error:  # of the catalogue, a secret, an interceptor or a descriptor
            raise SystemExit(f"gateway: {error}") from None

    worker_init.connect(prepare, weak=False)
    setup_logging.connect(_set_up_logging, weak=False)
    return app


def _check_pool(worker: Any) -> None:
    """Refuse a pool that was named on the command line: only ours performs calls."""
    named = worker.pool_cls
    if isinstance(named, str) and named != POOL:
        named = get_implementation(named)
    if named != POOL and not (isinstance(named, type) and issubclass(named, AsyncioPool)):
        raise ValueError(f"calls run in {POOL} alone; start the worker without -P (--pool)")


def _set_up_logging(loglevel: int | str | None = None, logfile: str | None = None, **_: object) -> None:
    """One line for each call, from us; Celery's own lines about each task would repeat it."""
    logging.basicConfig(
        level=loglevel or logging.INFO,
        filename=logfile,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("celery.backends.base").addFilter(OutageFilter())
    for noisy in ("celery.app.trace", "celery.worker.strategy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


app = _app_of_environment()
