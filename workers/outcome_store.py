"""Where Celery's tracer gets a call's outcome from, and what it may store of it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from celery.app.task import Context
from celery.exceptions import BackendError
from celery.signals import after_task_publish
from celery.states import FAILURE, SUCCESS
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from gateway.errors import ServiceError
from gateway.reply import Reply
from gateway.stored_result import StoredResult

__all__ = [
    "STORE_ERRORS",
    "OutcomeStore",
    "Settled",
    "first_stands",
    "guard_now",
    "is_first_kept",
    "settled",
    "settled_now",
    "unless",
]

#: What a result store or a broker raises that is away, full or busy.
STORE_ERRORS: tuple[type[Exception], ...] = (OSError, BackendError, OperationalError, RedisError)


@dataclass(slots=True)
class Settled:
    """A call that the tracer runs for.

    Attributes:
        outcome: of the call.
        dispatched: the tracer has enqueued its callbacks and the next step of its chain.
        stored: the call's error is stored, and its chord and the steps of its chain know of it.
        enqueued: ids of all tasks that were enqueued meanwhile.
    """

    outcome: Reply | Exception
    dispatched: bool = False
    stored: bool = False
    enqueued: set[str] = field(default_factory=set)


_NOW: ContextVar[Settled | None] = ContextVar("settled", default=None)
_FIRST: ContextVar[bool] = ContextVar("first_stands", default=False)


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


@contextmanager
def first_stands() -> Iterator[None]:
    """Within it, and in this thread, nothing takes the place of an outcome that is stored."""
    token = _FIRST.set(True)
    try:
        yield
    finally:
        _FIRST.reset(token)


Guard = Literal["", "recorded", "leased", "held"]

_GUARD: ContextVar[Guard] = ContextVar("guard", default="")


@contextmanager
def unless(guard: Guard) -> Iterator[None]:
    """Within it, and in this thread, no outcome is stored of a call that a worker has, or had.

    Args:
        guard: `recorded`: it was submitted as a call; `leased`: a worker ever took the call for execution; `held`: one
            has it now; empty: always stored.
    """
    token = _GUARD.set(guard)
    try:
        yield
    finally:
        _GUARD.reset(token)


def guard_now() -> Guard:
    """What holds back an outcome that is to be stored now."""
    return _GUARD.get()


def is_first_kept() -> bool:
    """Whether a stored outcome stands, whatever is to be stored now."""
    return _FIRST.get() or settled_now() is not None


@after_task_publish.connect
def _enqueued(headers: Mapping[str, Any] | None = None, **_: object) -> None:
    told = settled_now()
    if told is not None and isinstance(headers, Mapping):
        told.enqueued.add(str(headers.get("id")))


class OutcomeStore:
    """Celery's result backend, which stores nothing in the place of a call's outcome.

    Where an outcome cannot be stored, Celery's tracer stores the store's own error as a failure of the task: a store
    that is back by then would have it for good. Here that raises, and the outcome is tried again. The same holds for
    the error of a callback that cannot be enqueued: it is none of the call's.
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
        with first_stands():
            return self._backend.mark_as_done(*args, **options)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        *args: Any,
        call_errbacks: bool = True,
        **options: Any,
    ) -> Any:
        """Raises `exc` where it is not the outcome but the reason for which that could not be stored or passed on.

        Whoever calls it: what the pool or Celery's request say of a call does not replace what the call ended with.
        """
        told = settled_now()
        if told is None:
            with first_stands():
                return self._backend.mark_as_failure(
                    task_id, exc, traceback, request, *args, call_errbacks=call_errbacks, **options
                )
        if isinstance(told.outcome, Reply) or told.stored or isinstance(exc, STORE_ERRORS):
            raise exc
        self._backend.mark_as_failure(task_id, exc, traceback, request, *args, call_errbacks=False, **options)
        told.stored = True
        if call_errbacks and request and request.errbacks:
            self._backend._call_task_errbacks(request, exc, traceback)
        return None

    def tell(self, call_id: str, outcome: Any, headers: Mapping[str, Any]) -> None:
        """Store an outcome, and that what follows it is not enqueued yet."""
        if headers.get("ignore_result") or not hasattr(self._backend, "owe"):
            return
        state, value = (SUCCESS, outcome.to_wire()) if isinstance(outcome, Reply) else (FAILURE, outcome)
        with first_stands():
            # In this order: a note without an outcome means nothing.
            self._backend.owe(call_id)
            self._backend.store_result(call_id, value, state, request=Context(dict(headers)))

    def owing(self, call_id: str) -> Reply | ServiceError | None:
        """The outcome of a call after which something is still to be enqueued; None: nothing is."""
        payload = self._backend.owing(call_id) if hasattr(self._backend, "owing") else None
        if payload is None:
            return None
        try:
            return StoredResult(payload, self._backend, call_id).reply()
        except ServiceError as error:
            return error

    def paid(self, call_id: str) -> None:
        """What follows a call is enqueued, or given up."""
        if hasattr(self._backend, "paid"):
            self._backend.paid(call_id)

    def fail_all(self, signatures: Iterable[Mapping[str, Any]], error: Exception) -> None:
        """Give tasks that will not be enqueued an outcome."""
        with first_stands():
            self._backend._fail_chain(list(signatures), error)
