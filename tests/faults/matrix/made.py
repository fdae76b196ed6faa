"""A call of the fault tests, and what its producer was told."""

from dataclasses import dataclass
from typing import Literal

from gateway.errors import ServiceError

__all__ = ["KINDS", "Kind", "Made"]

Kind = Literal["GET", "POST", "keyed"]
KINDS: tuple[Kind, ...] = ("GET", "POST", "keyed")


@dataclass(slots=True, kw_only=True)
class Made:
    """A call, and what its producer was told.

    Attributes:
        kind: GET; POST, which may not be repeated; POST with an idempotency key.
        path: at the service; no other call has it.
        submitted: when `submit` was called, on the monotonic clock.
        submit_s: how long it took.
        call_id: of the call; None: it was not accepted.
        refused: why not.
        replied: whether it ended with a reply.
        error: that it ended with. Without a reply and an error it has no outcome.
        ended: when it came, or when nobody waited any more; 0: not yet.
    """

    kind: Kind
    path: str
    submitted: float
    submit_s: float = 0.0
    call_id: str | None = None
    refused: ServiceError | None = None
    replied: bool = False
    error: ServiceError | None = None
    ended: float = 0.0

    @property
    def repeatable(self) -> bool:
        """Whether it may arrive more than once."""
        return self.kind != "POST"
