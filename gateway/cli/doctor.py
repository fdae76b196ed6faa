"""`gateway doctor`: is this installation sound, and if not, what to do."""

import os
import sys
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from gateway.broker import BROKER_ERRORS
from gateway.catalogue import Catalogue, CatalogueError
from gateway.redis_client import ERRORS, open_sync
from gateway.settings import Settings, SettingsError

__all__ = ["doctor"]


class _Finding(NamedTuple):
    level: Literal["ok", "warning", "error"]
    what: str
    said: str


@click.command()
def doctor() -> None:
    """Check environment, catalogue, broker and result store. Exits 1 if something is wrong."""
    findings = list(_look())
    table = Table(title="gateway doctor")
    for column in ("", "what", "finding"):
        table.add_column(column, overflow="fold")
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    for finding in findings:
        table.add_row(f"[{colours[finding.level]}]{finding.level}[/]", finding.what, finding.said)
    Console().print(table)
    sys.exit(any(finding.level == "error" for finding in findings))


def _look() -> Iterator[_Finding]:
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        yield _Finding("error", "environment", str(error))
        return
    yield _Finding("ok", "environment", repr(settings))
    yield from _catalogue(settings)
    yield from _broker(settings)
    yield from _result_store(settings)


def _catalogue(settings: Settings) -> Iterator[_Finding]:
    if settings.config is None:
        yield _Finding("warning", "catalogue", "none; a producer can do without, a worker cannot: set GATEWAY_CONFIG")
        return
    try:
        catalogue = Catalogue.load(settings.config, os.environ)
    except CatalogueError as error:
        yield from (_Finding("error", "catalogue", problem) for problem in error.problems)
        return
    yield _Finding("ok", "catalogue", f"{len(catalogue.services)} services in {catalogue.path}")
    for key in catalogue.written_urls:
        yield _Finding(
            "warning", "catalogue", f'{key} is written into the file; take it from the environment: "${{NAME}}"'
        )
    for key in catalogue.not_acted_on:
        yield _Finding("warning", "catalogue", f"{key} is read, and this version does not act on it")
    for name, service in catalogue.services.items():
        kind, _, place = service.auth.secret.partition(":") if service.auth else ("", "", "")
        if kind == "env" and not os.environ.get(place):
            yield _Finding("error", f"services.{name}.auth", f"{place} is not set; set it in the workers' environment")
        if kind == "file" and not os.access(place, os.R_OK):
            yield _Finding("error", f"services.{name}.auth", f"{place} cannot be read; correct the path or its rights")


def _broker(settings: Settings) -> Iterator[_Finding]:
    from kombu import Connection

    try:
        with Connection(settings.broker_url, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            yield _Finding("ok", "broker", connection.as_uri())
    except BROKER_ERRORS as error:
        yield _Finding("error", "broker", f"does not answer ({error}); start it, or correct GATEWAY_BROKER_URL")


def _result_store(settings: Settings) -> Iterator[_Finding]:
    try:
        with open_sync(settings.result_url) as client:
            memory: Any = client.info("memory")
    except ERRORS as error:
        yield _Finding("error", "result store", f"does not answer ({error}); start it, or correct GATEWAY_RESULT_URL")
        return
    policy = memory.get("maxmemory_policy")
    if policy not in (None, "noeviction"):
        yield _Finding(
            "error",
            "result store",
            f"maxmemory-policy is {policy}: queues and results may be evicted; set it to noeviction",
        )
    else:
        yield _Finding("ok", "result store", "answers, and evicts nothing")
