"""One task message on its way through the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gateway.errors import ServiceError
from gateway.reply import Reply
from workers.outcomes import Dropped, Parked, Refused
from workers.parked_message import ParkedMessage

__all__ = ["Job", "Stage"]


class Stage(Enum):
    """Where a job is. Only the hub's thread moves it, but for `SETTLED`, which the job's own thread sets."""

    WAITING = "waiting"
    RUNNING = "running"
    SETTLED = "settled"
    """The outcome is known and on its way into the result backend, or to the broker if there is nothing to store."""
    OVER = "over"


@dataclass(slots=True, eq=False, weakref_slot=True)
class Job:
    """What Celery's `Request` gave the pool; the request itself keeps only a weak reference to it.

    Attributes:
        task_id: id of the task; for a call, of the call.
        target, args: Celery's tracer and its arguments `(name, id, request, body, content_type, content_encoding)`.
        on_accepted, on_done, on_lost, on_timeout: the request's callbacks; they run on the hub's thread only.
        soft_limit_s, hard_limit_s: Celery's time limits.
        silenced: it was cancelled, timed out or given up: its end has been announced, no callback may follow.
        source: the kombu message it came with; None if Celery did not say.
        revoked: nobody wants the running call any more; it is cancelled, and its outcome says so.
        begun: its coroutine made its first step.
        started: `time.monotonic()` of its start.
        runtime_s: how long the call itself took.
        outcome: what the tracer is to store, or why there is nothing to store; None for an ordinary task.
        told: its outcome is on its way to its producer though what follows it is not enqueued.
        refused: the message became no call, and its outcome is the error in it.
        abandoned: says of what follows it that it will not be enqueued, where that is so and is still to be said.
        traced: the tracer's `(failed, value, runtime)`; None if the tracer itself broke, then `broken` says why.
    """

    task_id: str
    target: Callable[..., tuple[int, Any, float | None]]
    args: Sequence[Any]
    on_accepted: Callable[[int, float], object]
    on_done: Callable[[tuple[int, Any, float | None]], object]
    on_lost: Callable[[Any], object]
    on_timeout: Callable[[bool, float], object]
    on_terminate: Callable[[Job], None]
    soft_limit_s: float | None = None
    hard_limit_s: float | None = None
    stage: Stage = Stage.WAITING
    silenced: bool = False
    revoked: bool = False
    begun: bool = False
    soft_limit_passed: bool = False
    started: float = 0.0
    runtime_s: float | None = None
    outcome: Reply | ServiceError | Exception | Parked | Dropped | None = None
    traced: tuple[int, Any, float | None] | None = None
    broken: BaseException | None = None
    coroutine: asyncio.Task[None] | None = None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    source: Any = None
    told: bool = False
    refused: Refused | None = None
    abandoned: Callable[[], object] | None = None
    #: Has one entry once it is settled who ends the job: see `silence` and `message`.
    _end: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        target: Callable[..., Any],
        args: Sequence[Any],
        options: Mapping[str, Any],
        on_terminate: Callable[[Job], None],
    ) -> Job:
        """A job from what Celery gives to `BasePool.apply_async`; a callback may be missing."""
        return cls(
            task_id=args[1],
            target=target,
            args=args,
            on_accepted=options.get("accept_callback") or _ignore,
            on_done=options.get("callback") or _ignore,
            on_lost=options.get("error_callback") or _ignore,
            on_timeout=options.get("timeout_callback") or _ignore,
            on_terminate=on_terminate,
            soft_limit_s=options.get("soft_timeout"),
            hard_limit_s=options.get("timeout"),
            # Celery shows a pool the request only as the owner of its callbacks.
            source=getattr(getattr(options.get("accept_callback"), "__self__", None), "message", None),
        )

    @property
    def request(self) -> Mapping[str, Any]:
        """The message's headers, completed by Celery."""
        found: Mapping[str, Any] = self.args[2]
        return found

    @property
    def call_arguments(self) -> tuple[Sequence[Any], Mapping[str, Any], Mapping[str, Any]]:
        """The call's args, kwargs and what Celery is to do with its outcome; `CallRequest` decoded them."""
        args, kwargs, embed = self.args[3]
        return args, kwargs, embed or {}

    def message(self) -> bytes:
        """The message that the job came with, packed to be parked; the executor calls it right before it does that.

        From here on nothing cancels or silences the job: parking takes a bounded time, and its outcome follows.

        Raises:
            asyncio.CancelledError: the job's end is announced already; it must not be parked.
            ValueError: the message cannot be packed.
        """
        packed = ParkedMessage.of(self.source).pack()
        if self._end.setdefault("by", "parking") != "parking":
            raise asyncio.CancelledError
        return packed

    @property
    def parking(self) -> bool:
        """Whether the executor is parking it, or has."""
        return self._end.get("by") == "parking"

    def silence(self) -> bool:
        """Let no callback follow any more; False if it is too late for that, since the job is being parked.

        Who comes first, this on the hub's thread or `message` on the loop's, is decided in one atomic step.
        """
        if self._end.setdefault("by", "silence") != "silence":
            return False
        self.silenced = True
        return True

    def give_back(self) -> None:
        """Put its message back to its queue: the worker is ending, and does not begin with it."""
        if self.source is not None:
            # What is not put back goes back with the end of its channel or of this process.
            with suppress(Exception):
                self.source.requeue()

    def forget(self, **what: object) -> None:
        """Put these in the place of what Celery is to do with its outcome: it is done, or will not be."""
        args, kwargs, embed = self.args[3]
        self.args = (*self.args[:3], (args, kwargs, {**(embed or {}), **what}), *self.args[4:])

    def refuse(self, refused: Refused) -> None:
        """It became no call. What came with a message that nobody signed is not acted on.

        Anybody can write that, and the worker would enqueue it with its own rights.
        """
        self.refused = refused
        if not refused.verified:
            self.forget(callbacks=None, errbacks=None, chain=None, chord=None)

    def terminate(self, signal: int | None = None) -> None:
        """End this job alone, without an outcome; Celery calls it on the hub's thread.

        It does so when an ordinary task is revoked, and when a task is cancelled since its message comes again.
        """
        self.on_terminate(self)


def _ignore(*_: object) -> None:
    """In place of a callback that was not given."""
