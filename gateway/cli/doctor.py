"""`gateway doctor`: is this installation sound, and if not, what to do."""

import json
import os
import sys
from dataclasses import asdict, replace

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.checks import Finding, Level, check_all
from gateway.redaction import SECRETS
from gateway.settings import Settings, SettingsError

__all__ = ["doctor"]

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check environment, catalogue, broker, result store and what workers need. Exits 1 if something is wrong."""
    findings = _look()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        _print(findings)
    sys.exit(any(finding.level is Level.ERROR for finding in findings))


def _look() -> list[Finding]:
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        return [Finding(level=Level.ERROR, what="environment", found=str(error))]
    read = Finding(level=Level.OK, what="environment", found=repr(settings))
    # A server's own words may have the password in them with which it was asked.
    return [replace(finding, found=SECRETS.line(finding.found)) for finding in (read, *check_all(settings, os.environ))]


def _print(findings: list[Finding]) -> None:
    table = Table(title="gateway doctor")
    for column in ("", "what", "finding"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        said = f"{finding.found}; {finding.cure}" if finding.cure else finding.found
        table.add_row(f"[{_COLOURS[finding.level]}]{finding.level}[/]", escape(finding.what), escape(said))
    Console().print(table)
