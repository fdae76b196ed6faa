"""What Celery logs for each result that it cannot store, made one line now and then."""

import logging
from time import monotonic

__all__ = ["OutageFilter"]

_EVERY_S = 10.0


class OutageFilter(logging.Filter):
    """Keeps a store that is away from filling the log: a line in ten seconds, without its traceback.

    An outcome that cannot be stored is tried again for as long as it takes, and each try would be pages long.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if record.exc_info is None:
            return True
        record.exc_info, record.exc_text = None, None
        now = monotonic()
        said_at = self._said_at.get(str(record.msg))
        if said_at is not None and now - said_at < _EVERY_S:
            return False
        self._said_at[str(record.msg)] = now
        return True
