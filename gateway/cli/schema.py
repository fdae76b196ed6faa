"""`gateway schema`: the message contract as JSON Schema."""

import json

import click

from gateway.codec import json_schema

__all__ = ["schema"]


@click.command()
def schema() -> None:
    """Print the JSON Schema of a call's message, for producers without this package."""
    click.echo(json.dumps(json_schema(), indent=2))
