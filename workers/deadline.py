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
        """The deadline of a message that was received now: never later than what was asked for, and at most
        `MAX_DEADLINE_S` from now.

        What was asked for counts from `sent_at` where the message has it. A sender whose clock is ahead does not
        lengthen its deadline by it; one whose clock is behind shortens it, which cannot be told from a long wait.

        Args:
            envelope: names it as a Unix time, or as seconds from when the message was sent or received.
            wall: now, in the time that senders reckon in: fleet time, see `gateway.clock`.
            monotonic: now, on this process's monotonic clock.
        """
        sent_at = envelope.sent_at
        if envelope.deadline_at is not None:
            left = envelope.deadline_at - wall
            if sent_at is not None:
                left = min(left, envelope.deadline_at - sent_at)
        else:
            left = DEFAULT_DEADLINE_S if envelope.deadline_s is None else envelope.deadline_s
            if sent_at is not None:
                left -= max(0.0, wall - sent_at)
        return cls(monotonic + min(left, MAX_DEADLINE_S))

    def left(self, monotonic: float) -> float:
        """Seconds that are left; negative once it has passed."""
        return self.at - monotonic
