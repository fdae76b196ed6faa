"""What commands that act on the fleet share."""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

import click

from gateway.catalogue import Catalogue, CatalogueError
from gateway.cli.glance import one_line
from gateway.fleet import Fleet
from gateway.redis_client import ERRORS
from gateway.service import Service
from gateway.settings import Settings, SettingsError

__all__ = ["by_hand", "catalogue_path", "catalogued", "check_service", "open_fleet"]


@contextmanager
def open_fleet() -> Iterator[Fleet]:
    """The fleet of the environment; what cannot be had ends the command with its cure."""
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    try:
        with Fleet.open(settings.result_url) as fleet:
            yield fleet
    except ERRORS as error:
        raise click.ClickException(
            f"the result store does not answer ({one_line(str(error))}); start it, or correct GATEWAY_RESULT_URL"
        ) from None


def catalogue_path() -> str:
    """Where the catalogue is, as the environment says."""
    return os.environ.get("GATEWAY_CONFIG") or "gateway.toml"


def catalogued() -> dict[str, Service]:
    """The catalogue's services; none if there is no catalogue that can be read."""
    try:
        return Catalogue.load(catalogue_path()).services
    except CatalogueError:
        return {}


def check_service(fleet: Fleet, service: str) -> None:
    """Refuse a service that nobody knows: what is done would be done for nothing."""
    known = sorted({*catalogued(), *fleet.services()})
    if service in known:
        return
    near = get_close_matches(service, known, n=1)
    if near:
        cure = f"did you mean {near[0]!r}?"
    elif known:
        cure = f"there are {', '.join(known)}"
    else:
        cure = "no service was ever called, and there is no catalogue; set GATEWAY_CONFIG"
    raise click.ClickException(f"no service {service!r}; {cure}")


def by_hand() -> str:
    """Who does this."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()} by hand"
