"""A secret of the worker: where it is kept, and its value for as long as it takes to send it."""

from collections.abc import Mapping
from pathlib import Path

__all__ = ["Secret", "SecretError"]


class SecretError(ValueError):
    """A secret cannot be read; names its place, never its value."""


class Secret:
    """A reference, `env:NAME` or `file:/path`, resolved on construction.

    Raises:
        SecretError: there is nothing there, or it cannot be a header's value.
    """

    __slots__ = ("_value", "reference")

    def __init__(self, reference: str, environ: Mapping[str, str]) -> None:
        self.reference = reference
        kind, _, place = reference.partition(":")
        if kind == "env":
            value = environ.get(place, "")
            if not value:
                raise SecretError(f"{reference}: is not set in the worker's environment; set it")
        elif kind == "file":
            try:
                value = Path(place).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SecretError(
                    f"{reference}: cannot be read ({type(error).__name__}); correct the path or its rights"
                ) from None
            if not value:
                raise SecretError(f"{reference}: is empty; write the secret into it")
        else:
            raise SecretError("a secret is neither 'env:NAME' nor 'file:/path'; write a reference")
        if not (value.isascii() and value.isprintable()):
            raise SecretError(f"{reference}: has characters that a header cannot carry; use printable ASCII")
        self._value = value

    def reveal(self) -> str:
        """The value."""
        return self._value

    def __repr__(self) -> str:
        return f"<Secret {self.reference}>"
