"""What every transport gets, gives back and must keep.

A transport makes one attempt. It knows nothing of retries, breakers or deadlines over several attempts: it reports what
happened, and above all whether the service may have seen the request.
"""

from dataclasses import dataclass
from typing import Protocol

from gateway.outcome import Failure
from workers.attempt import Answer, Attempt, Wire

__all__ = ["Answer", "Attempt", "Transport", "Usage", "Wire"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a transport holds.

    Attributes:
        connections: that are open, also idle ones.
        busy: attempts that have a place on them.
        waiting: attempts that wait for one.
    """

    connections: int
    busy: int
    waiting: int


class Transport(Protocol):
    """A service's connections for one protocol, made on the loop that uses them and after any fork."""

    async def send(self, attempt: Attempt) -> Answer | Failure:
        """Make one attempt.

        Never raises for anything that the service, the network or the reply does: that is a `Failure` with an exact
        `delivery`. `asyncio.CancelledError` passes through, with the connection given back or closed.
        """
        ...

    @property
    def usage(self) -> Usage:
        """Its connections and places now."""
        ...

    async def close(self) -> None:
        """Close every connection; calls in flight fail."""
        ...
