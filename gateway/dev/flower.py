"""Flower as its users see it: over HTTP."""

import base64
import json
import urllib.request
from typing import Any

__all__ = ["Flower"]

_TIMEOUT_S = 5.0
_OPEN_STATES = frozenset(("PENDING", "RECEIVED", "STARTED"))


class Flower:
    """A Flower that runs.

    Args:
        url: its address.
        login: `user:password`.
    """

    def __init__(self, url: str, login: str) -> None:
        self.url = url
        self.login = login

    def page(self, path: str) -> str:
        """The text of a page, or of an answer of its API.

        Raises:
            OSError: it does not answer, or refuses.
        """
        request = urllib.request.Request(self.url + path)  # noqa: S310 - an http URL that Flower printed itself
        request.add_header("Authorization", "Basic " + base64.b64encode(self.login.encode()).decode())
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - see above
            text: bytes = answer.read()
            return text.decode()

    def follows_a_worker(self) -> bool:
        """Whether an event of a worker has arrived.

        It serves pages before that; what workers do in between it never shows.
        """
        try:
            return "flower_worker_online{" in self.page("/metrics")
        except OSError:
            return False

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks that it has seen."""
        return list(json.loads(self.page("/api/tasks?limit=100000")).values())

    def finished(self) -> list[dict[str, Any]]:
        """The tasks that have an outcome."""
        return [task for task in self.tasks() if task["state"] not in _OPEN_STATES]

    def __repr__(self) -> str:
        return f"<Flower {self.url}>"
