"""Where Celery's tracer gets a call's outcome from, and what it may store of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from celery.exceptions import BackendError
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from gateway.reply import Reply

__all__ = ["STORE_ERRORS", "OutcomeStore", "Settled", "settled", "settled_now"]

#: What a result store or a broker raises that is away, full or busy.
STORE_ERRORS: tuple[type[Exception], ...] = (OSError, BackendError, OperationalError, RedisError)


@dataclass(slots=True)
class Settled:
    """A call that the tracer runs for.

    Attributes:
        outcome: of the call.
        dispatched: the tracer has enqueued its callbacks and the next step of its chain.
    """

    outcome: Reply | Exception
    dispatched: bool = False


_NOW: ContextVar[Settled | None] = ContextVar("settled", default=None)


@contextmanager
def settled(outcome: Reply | Exception | None) -> Iterator[Settled | None]:
    """Within it, and in this thread, the task's body ends with this outcome."""
    told = None if outcome is None else Settled(outcome)
    token = _NOW.set(told)
    try:
        yield told
    finally:
        _NOW.reset(token)


def settled_now() -> Settled | None:
    """The call that the tracer runs for in this thread."""
    return _NOW.get()


class OutcomeStore:
    """Celery's result backend, which stores nothing in the place of a call's outcome.

    Where an outcome cannot be stored, Celery's tracer stores the store's own error as a failure of the task: a store
    that is back by then would have it for good. Here that raises, and the outcome is tried again.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def mark_as_done(self, *args: Any, **options: Any) -> Any:
        """The tracer calls it once callbacks and chain are enqueued."""
        told = settled_now()
        if told is not None:
            told.dispatched = True
        return self._backend.mark_as_done(*args, **options)

    def mark_as_failure(self, task_id: str, exc: BaseException, *args: Any, **options: Any) -> Any:
        """Raises `exc` where it is not the outcome but the reason for which that could not be stored or passed on."""
        if settled_now() is not None and isinstance(exc, STORE_ERRORS):
            raise exc
        return self._backend.mark_as_failure(task_id, exc, *args, **options)
