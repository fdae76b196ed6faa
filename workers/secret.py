"""A secret of the worker: where it is kept, and its value for as long as it takes to send it."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from gateway.redaction import SECRETS, SHORTEST

__all__ = ["Secret", "SecretError"]

_log = logging.getLogger("gateway.secrets")

#: Seconds between two looks at a file.
_LOOK_S = 1.0


class SecretError(ValueError):
    """A secret cannot be read; names its place, never its value."""


class Secret:
    """A reference, `env:NAME` or `file:/path`, resolved on construction. A file is read again when it changes.

    Args:
        reference: where it is.
        environ: of the worker.
        for_header: refuse what a header cannot carry; else it may be a key of several lines.
        clock: seconds, for how often a file is looked at.
        usable: raises `SecretError` for a value that cannot be used; a file that has such a one is not taken up.

    Raises:
        SecretError: there is nothing there, or it cannot be used, or be a header's value.
    """

    __slots__ = ("_clock", "_for_header", "_looked", "_path", "_seen", "_usable", "_value", "reference", "version")

    def __init__(
        self,
        reference: str,
        environ: Mapping[str, str],
        *,
        for_header: bool = True,
        clock: Callable[[], float] = monotonic,
        usable: Callable[[str], object] | None = None,
    ) -> None:
        self.reference = reference
        self._for_header = for_header
        self._clock = clock
        self._usable = usable
        #: Grows with each new value.
        self.version = 0
        self._path: Path | None = None
        self._seen: tuple[int, int, int] | None = None
        self._looked = clock()
        kind, _, place = reference.partition(":")
        if kind == "env":
            value = environ.get(place, "").strip()
            if not value:
                raise SecretError(f"{reference}: is not set in the worker's environment; set it")
        elif kind == "file":
            self._path = Path(place)
            value = self._read(self._path)
        else:
            raise SecretError("a secret is neither 'env:NAME' nor 'file:/path'; write a reference")
        self._value = self._checked(value)

    def reveal(self) -> str:
        """The value, as it is now."""
        if self._path is not None and self._clock() - self._looked >= _LOOK_S:
            self._look(self._path)
        return self._value

    def _look(self, path: Path) -> None:
        self._looked = self._clock()
        try:
            if self._stamp(path) == self._seen:
                return
            value = self._checked(self._read(path))
        except (OSError, SecretError) as error:
            # Whoever replaces it may be in the middle of that.
            _log.warning("%s: the value from before is used (%s)", self.reference, error)
            return
        if value != self._value:
            SECRETS.retire(self._value)
            self._value = value
            self.version += 1
            _log.info("%s: has a new value, which is used from now on", self.reference)

    def _read(self, path: Path) -> str:
        try:
            self._seen = self._stamp(path)
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretError(
                f"{self.reference}: cannot be read ({type(error).__name__}); correct the path or its rights"
            ) from None
        if not value:
            raise SecretError(f"{self.reference}: is empty; write the secret into it")
        return value

    @staticmethod
    def _stamp(path: Path) -> tuple[int, int, int]:
        found = path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _checked(self, value: str) -> str:
        if self._for_header and not (value.isascii() and value.isprintable()):
            raise SecretError(
                f"{self.reference}: has characters that a header cannot carry; use printable ASCII in one line"
            )
        # Before it is used, known or not: what is half written may be most of a secret.
        if "\n" in value:
            SECRETS.register_key(value)
        elif not SECRETS.register(value):
            _log.warning(
                "%s: has less than %d characters, so nobody can tell it from ordinary text in what services say back;"
                " use a longer one",
                self.reference,
                SHORTEST,
            )
        if self._usable is not None:
            self._usable(value)
        return value

    def __repr__(self) -> str:
        return f"<Secret {self.reference}>"
