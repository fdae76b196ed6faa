"""The Celery app of the workers, for `gateway worker` and for `celery -A workers.app worker`."""

import logging
import os
import socket
from typing import Any

from celery import Celery
from celery.concurrency import get_implementation
from celery.signals import setup_logging, worker_init
from kombu.transport import TRANSPORT_ALIASES

from gateway.broker import make_app
from gateway.catalogue import Catalogue, CatalogueError
from gateway.checks import Level, check_worker
from gateway.clock import FleetClock
from gateway.fleet_look import FleetLook
from gateway.history import history_length
from gateway.routing import FRONT_QUEUE, queue_of
from gateway.settings import Settings, SettingsError
from gateway.visibility import visibility_timeout_s
from gateway.worker_address import WorkerAddress
from workers.executor import Executor
from workers.logs import format_of, set_up
from workers.observation.fleet_collector import FleetCollector
from workers.observation.observers import Observation
from workers.observation.tracing import is_wanted
from workers.outcome_backend import BACKENDS
from workers.pool import AsyncioPool
from workers.port import port_step
from workers.task import CallTask
from workers.unparker import unparker_step

__all__ = ["app", "create_app"]

#: Calls in flight in one worker process. They wait on the network, so one process holds many.
CONCURRENCY = 300

#: The only pool that performs calls.
POOL = "workers.pool:AsyncioPool"

#: How workers take calls off a Redis, by the URL's scheme. For RabbitMQ all have the same one, see `gateway.queues`.
_TRANSPORTS = {
    "redis": "workers.broker.redis:Transport",
    "rediss": "workers.broker.redis:Transport",
    "sentinel": "workers.broker.redis:SentinelTransport",
}

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
    catalogue = Catalogue.load(settings.config)
    services = catalogue.services
    app = make_app(settings, queues=(FRONT_QUEUE, CELERY_QUEUE, *map(queue_of, services)))
    app.loader.override_backends = BACKENDS
    app.events.dispatcher_cls = "workers.event_dispatcher:UnhurriedDispatcher"
    # Remote control shows the configuration, and hides what has such a name.
    app.conf.gateway_result_secret_url = settings.result_url
    app.conf.gateway_callers_sign = bool(catalogue.callers)
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
    #: Of this process, once its executor was made.
    observed: list[Observation] = []

    def perform() -> Executor:
        clock, is_counted = FleetClock(), WorkerAddress.of(os.environ) is not None
        observed[:] = [
            Observation.of(
                services,
                clock,
                counted=is_counted,
                kept=history_length(os.environ),
                traced=is_wanted(os.environ),
            )
        ]
        return _executor(settings, app, clock, observed[0])

    app.register_task(CallTask(perform))
    app.steps["worker"].add(
        port_step(
            lambda: WorkerAddress.of(os.environ),
            lambda: observed[0].metrics if observed else None,
            lambda: FleetCollector(FleetLook(settings, services), policies),
        )
    )
    return app


def _executor(
    settings: Settings, app: Celery, clock: FleetClock | None = None, observation: Observation | None = None
) -> Executor:
    assert settings.config is not None  # noqa: S101 - create_app has refused it
    return Executor(
        Catalogue.load(settings.config, os.environ),
        os.environ,
        result_url=settings.result_url,
        result_prefix=_result_prefix(app),
        worker=f"{socket.gethostname()}:{os.getpid()}",
        clock=clock,
        observation=observation,
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
            # Of workers alone: Flower's page of the broker knows kombu's own transports.
            if transport := _TRANSPORTS.get(settings.broker_url.partition("://")[0].lower()):
                app.conf.broker_transport = transport
                # With several addresses kombu goes by the scheme of each that it tries.
                TRANSPORT_ALIASES.update(_TRANSPORTS)
            WorkerAddress.of(os.environ)
            history_length(os.environ)
            _executor(settings, app).check()
        except ValueError as error:  # of the catalogue, a secret, an interceptor or a descriptor
            raise SystemExit(f"gateway: {error}") from None
        _check_servers(settings, app)

    worker_init.connect(prepare, weak=False)
    setup_logging.connect(_set_up_logging, weak=False)
    return app


def _check_servers(settings: Settings, app: Celery) -> None:
    """Warn of what is unsafe about the servers, and refuse to start for what would lose calls."""
    assert settings.config is not None  # noqa: S101 - create_app has refused it
    findings = check_worker(
        settings,
        Catalogue.load(settings.config),
        os.environ,
        visibility_timeout_s=app.conf.broker_transport_options.get("visibility_timeout"),
        result_expires_s=app.conf.result_expires,
    )
    for finding in findings:
        if finding.level is Level.WARNING:
            _log.warning("%s", finding)
    if errors := [finding for finding in findings if finding.level is Level.ERROR]:
        raise SystemExit("\n".join(f"gateway: {finding}" for finding in errors))


def _check_pool(worker: Any) -> None:
    """Refuse a pool that was named on the command line: only ours performs calls."""
    named = worker.pool_cls
    if isinstance(named, str) and named != POOL:
        named = get_implementation(named)
    if named != POOL and not (isinstance(named, type) and issubclass(named, AsyncioPool)):
        raise ValueError(f"calls run in {POOL} alone; start the worker without -P (--pool)")


def _set_up_logging(loglevel: int | str | None = None, logfile: str | None = None, **_: object) -> None:
    try:
        form = format_of(os.environ)
    except ValueError as error:
        raise SystemExit(f"gateway: {error}") from None
    set_up(form, level=loglevel, file=logfile)


app = _app_of_environment()
