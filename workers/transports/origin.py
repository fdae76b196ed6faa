"""A service's origin (RFC 6454, section 4), and which redirects stay on it."""

import re
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

__all__ = ["Origin", "RedirectError"]

#: Without what URL parsers disagree about: backslashes, spaces, control characters, what is not ASCII.
_LOCATION = re.compile(r"[!-\[\]-~]+")
_PORTS = {"http": 80, "https": 443}


class RedirectError(ValueError):
    """A redirect is not followed; says why."""


class Origin(NamedTuple):
    """Scheme, host and port."""

    scheme: str
    host: str
    port: int

    def target_of(self, location: str | None, target: str) -> str:
        """Path and query that a redirect leads to. Whatever it says, the request goes where the last one went.

        Args:
            location: the header.
            target: path and query of the request that was redirected.

        Raises:
            RedirectError: it leads to another origin, or cannot be read.
        """
        # Three slashes and more are a path to some, and a host to others.
        if not location or not _LOCATION.fullmatch(location) or "///" in location.partition("?")[0]:
            raise RedirectError("its location cannot be read")
        here = f"[{self.host}]" if ":" in self.host else self.host
        try:
            url = urlsplit(urljoin(f"{self.scheme}://{here}:{self.port}{target}", location))
            there = Origin(url.scheme, url.hostname or "", url.port or _PORTS.get(url.scheme, 0))
        except ValueError:
            raise RedirectError("its location cannot be read") from None
        if there != self or "@" in url.netloc:
            raise RedirectError("it leads to another origin")
        path = url.path or "/"
        return f"{path}?{url.query}" if url.query else path
