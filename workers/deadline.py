"""Until when a call may run: absolute on the wire, monotonic in the worker."""

from dataclasses import dataclass

from gateway.envelope import DEFAULT_DEADLINE_S, MAX_DEADLINE_S, Envelope

__all__ = ["Deadline"]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of this process's monotonic clock, in seconds."""

    at: float

    @classmethod
    def of(cls, envelope: Envelope, *, wall: float, monotonic: float) -> "Deadline":
        """The deadline of a message that was received now.

        Args:
            envelope: names it as a Unix time, or as seconds from when the message was sent or received.
            wall, monotonic: now, on both clocks.
        """
        if envelope.deadline_at is not None:
            left = envelope.deadline_at - wall
        else:
            allowed = DEFAULT_DEADLINE_S if envelope.deadline_s is None else envelope.deadline_s
            # A sender whose clock is ahead must not lengthen its own deadline.
            waited = 0.0 if envelope.sent_at is None else max(0.0, wall - envelope.sent_at)
            left = allowed - waited
        return cls(monotonic + min(left, MAX_DEADLINE_S))

    def left(self, monotonic: float) -> float:
        """Seconds that are left; negative once it has passed."""
        return self.at - monotonic
