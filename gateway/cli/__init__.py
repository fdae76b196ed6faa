"""The command line, `gateway …`: one file a command, loaded when it is used."""

import importlib

import click

__all__ = ["main"]

_COMMANDS = {
    "breakers": "gateway.cli.breakers:breakers",
    "call": "gateway.cli.call:call",
    "calls": "gateway.cli.calls:calls",
    "callers": "gateway.cli.callers:callers",
    "dead": "gateway.cli.dead:dead",
    "demo": "gateway.cli.demo:demo",
    "dev": "gateway.cli.dev:dev",
    "doctor": "gateway.cli.doctor:doctor",
    "drain": "gateway.cli.workers:drain",
    "explain": "gateway.cli.explain:explain",
    "pause": "gateway.cli.pause:pause",
    "resume": "gateway.cli.pause:resume",
    "schema": "gateway.cli.schema:schema",
    "services": "gateway.cli.services:services",
    "top": "gateway.cli.top:top",
    "worker": "gateway.cli.worker:worker",
    "workers": "gateway.cli.workers:workers",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="call-gateway")
def main() -> None:
    """Calls between services, queued: REST, gRPC and GraphQL."""
