"""What happens to calls, told once as typed events: logs, metrics, traces and the history of calls follow from them."""

from workers.observation.events import (
    AttemptEnded,
    AttemptHeld,
    AttemptStarted,
    BreakerChanged,
    CallDropped,
    CallEnded,
    CallLeft,
    CallParked,
    CallRefused,
    CallTaken,
    Event,
    LetterKept,
)
from workers.observation.stream import Observer, Stream

__all__ = [
    "AttemptEnded",
    "AttemptHeld",
    "AttemptStarted",
    "BreakerChanged",
    "CallDropped",
    "CallEnded",
    "CallLeft",
    "CallParked",
    "CallRefused",
    "CallTaken",
    "Event",
    "LetterKept",
    "Observer",
    "Stream",
]
