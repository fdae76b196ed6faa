"""`gateway worker`: a Celery worker with the gateway's app and pool."""

import os
import sys
from importlib.util import find_spec

import click

__all__ = ["worker"]

#: What the `[worker]` extra brings and no worker starts without.
_NEEDED = ("httpx", "aiohttp", "grpc")


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option(
    "-c", "--concurrency", type=click.IntRange(1, 100_000), default=300, show_default=True, help="Calls in flight."
)
@click.option("-l", "--loglevel", default="INFO", show_default=True, help="DEBUG, INFO, WARNING or ERROR.")
@click.option("-n", "--hostname", default=None, help="The worker's name; %h is the host's.")
@click.option("-Q", "--queues", default=None, help="Only these queues, such as gateway.user-service,gateway.")
@click.pass_context
def worker(context: click.Context, concurrency: int, loglevel: str, hostname: str | None, queues: str | None) -> None:
    """Start a worker: it executes the calls of all services in the catalogue.

    Further options go to `celery worker`.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f"a worker needs {', '.join(missing)}, not installed here; run: pip install 'call-gateway[worker]'"
        )
    argv = [sys.executable, "-m", "celery", "-A", "workers.app", "worker"]
    argv += ["--concurrency", str(concurrency), "--loglevel", loglevel]
    argv += ["--hostname", hostname] if hostname else []
    argv += ["--queues", queues] if queues else []
    # The process becomes Celery's: signals of an orchestrator reach it directly.
    os.execv(argv[0], [*argv, *context.args])  # noqa: S606 - no shell, arguments of the operator
