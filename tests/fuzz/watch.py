"""What no input may do: raise, take too long, eat memory, or show what it holds in a log."""

import faulthandler
import logging
import resource
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tests.fuzz.targets import SECRET, Target

__all__ = ["BOUND_S", "Defect", "Watch", "resident_mb"]

#: Seconds that one input may take, with much to spare for a busy machine.
BOUND_S = 10.0
_MOST_LINE = 4000


class Defect(Exception):
    """An input that did what none may do.

    Attributes:
        target, raw: which input of what.
    """

    def __init__(self, target: Target, raw: bytes, why: str) -> None:
        super().__init__(f"{target.name}: {why}; the input: {raw[:300]!r}{'…' if len(raw) > 300 else ''}")
        self.target = target
        self.raw = raw


class HangError(BaseException):
    """Not an Exception: nothing under test may catch it."""


class _Lines(logging.Handler):
    """Every line that is logged; looks for what must not be in it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(message)s"))
        self.wrong = ""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if SECRET in line:
            self.wrong = f"a line of {record.name} shows the payload"
        elif len(line) > _MOST_LINE:
            self.wrong = f"a line of {record.name} has {len(line)} characters"


class Watch:
    """Runs inputs and counts how they ended, by target. Used by the main thread alone, while it is `open`."""

    def __init__(self) -> None:
        self.endings: Counter[tuple[str, str]] = Counter()
        self._lines = _Lines()

    @contextmanager
    def open(self) -> "Iterator[Watch]":
        """Take over the alarm and the logs."""
        root = logging.getLogger()
        handlers, level, alarm = root.handlers[:], root.level, signal.signal(signal.SIGALRM, _too_long)
        root.handlers[:] = [self._lines]
        root.setLevel(logging.INFO)
        try:
            yield self
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()
            signal.signal(signal.SIGALRM, alarm)
            root.handlers[:] = handlers
            root.setLevel(level)

    def run(self, target: Target, raw: bytes) -> None:
        """One input.

        Raises:
            Defect: see the module.
        """
        signal.setitimer(signal.ITIMER_REAL, BOUND_S)
        try:
            ending = target.run(raw)
        except HangError:
            raise Defect(target, raw, f"it did not end within {BOUND_S:g} s") from None
        except Exception as error:
            raise Defect(target, raw, f"{type(error).__name__} came through: {error}") from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.endings[target.name, ending] += 1
        if self._lines.wrong:
            # A name that an operator may see can be anything that a producer made it.
            wrong, self._lines.wrong = self._lines.wrong, ""
            raise Defect(target, raw, wrong)


def resident_mb() -> float:
    """The most memory that this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise HangError
