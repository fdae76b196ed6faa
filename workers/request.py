"""The worker's view of one call: what operators and events may see of it, and nothing more."""

import re
from datetime import UTC, datetime
from typing import Any
from weakref import ref

from celery.app.trace import fast_trace_task, trace_task_ret
from celery.worker.request import Request
from celery.worker.state import task_ready

from gateway import routing
from gateway.call_amqp import name_callbacks
from workers.job import Job, Stage

__all__ = ["SHORT_S", "CallRequest"]

#: A countdown of up to so many seconds is waited for in the worker, by Celery's timer. A longer one is not: its message
#: would be held here until then, without a bound on how many, and on Redis be delivered to another worker meanwhile.
#: Such a call is taken at once, and deferred by `Executor.perform`.
SHORT_S = 5.0

#: The last line of the traceback of an outcome. A `GatewayFaultError` is none: its traceback says where we were wrong.
_OURS = re.compile(r"^gateway\.errors\.(?!GatewayFaultError)", re.MULTILINE)


class CallRequest(Request):
    """A request whose representations hold nothing of the call's payload, whatever its producer sent."""

    _payload: Any
    _request_dict: dict[str, Any]
    _apply_result: Any
    _already_revoked: bool
    _eta: datetime | None
    _app: Any
    _type: str
    acknowledged: bool
    id: str
    on_failure: Any
    on_success: Any
    task: Any
    time_start: float | None

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        args, kwargs, _ = self._payload
        name, summary = routing.describe(kwargs)
        # Whatever its producer calls it: operators find a call by what it is.
        self.task_name = name
        self._argsrepr = f"({len(args)} earlier)" if args else "()"
        self._kwargsrepr = summary
        # The tracer takes them from here; where one is empty, it would represent the payload itself.
        self._request_dict.update(shadow=self.name, argsrepr=self._argsrepr, kwargsrepr=self._kwargsrepr)
        name_callbacks(self.id, self._payload[2])
        if self._eta is not None and (self._eta - datetime.now(UTC)).total_seconds() > SHORT_S:
            self._eta = None
        # Decoded once: the tracer decodes again only what has a content type.
        self._body = self._payload
        self._content_type = self._content_encoding = None

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's own name
        """Send an event of the call, with what Flower shows of it in one line, and can be searched for, as `result`.

        Celery sends that with a success alone. A call that goes on has no result any more, and no error either.
        """
        match type:
            case "task-failed":
                job = self._job()
                fields |= {"result": fields.get("exception"), "runtime": None if job is None else job.runtime_s}
            case "task-retried":
                fields |= {"result": fields.get("exception"), "traceback": None}
            case "task-started":
                fields |= {"result": None, "exception": None, "traceback": None}
        if _OURS.search(fields.get("traceback") or ""):
            # An answer of the service, or of the gateway: where the worker raised it says nothing about it.
            fields["traceback"] = None
        super().send_event(type, **fields)

    def info(self, safe: bool = False) -> Any:
        """What `inspect active`, `reserved`, `scheduled` and `query_task` show; never the payload."""
        return super().info(safe=True)

    def revoked(self) -> bool:
        """Whether it was revoked or has expired; then it ends here. Called before it starts, perhaps more than once."""
        if not self._already_revoked:
            return bool(super().revoked())
        # Celery counted it again when its countdown passed.
        task_ready(self)
        return True

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        """End a call that was not started with an error that says so, in place of Celery's REVOKED.

        That is stored as any outcome is: off the hub, with the chain's, the chord's and the callbacks' part of it.
        """
        pool = self.task.pool
        if pool is None:
            super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc] # the stubs lack it
            return
        self._already_revoked = True
        trace = fast_trace_task if self._app.use_fast_trace_task else trace_task_ret
        job = pool.refuse(
            trace,
            (self._type, self.id, self._request_dict, self._body, self._content_type, self._content_encoding),
            expired=expired,
            callback=self.on_success,
            error_callback=self.on_failure,
        )
        self._apply_result = ref(job)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """End it because it was revoked.

        A call that runs is cancelled, and its outcome tells what is known of it; one that has its outcome keeps it.
        """
        job = self._job()
        if self.task.pool is None:
            super().terminate(pool, signal)
        elif job is not None:
            self.task.pool.revoke(job)
        elif not (self.time_start or self._already_revoked or self.acknowledged):
            self._announce_revoked("terminated", True, signal, False)

    def _job(self) -> Job | None:
        job: Job | None = self._apply_result() if self._apply_result is not None else None
        return job

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Cancel it because its message will be delivered again: at a cold stop or a lost connection.

        A call that has its outcome goes on: it is stored and acknowledged, since running it again cannot be better.
        So does one that is being parked, whose message would otherwise be there twice. No RETRY is stored, which nobody
        could tell from a call that still runs.
        """
        job = self._job()
        if job is not None and (job.stage is Stage.SETTLED or job.parking):
            return
        super().cancel(pool, signal, emit_retry=False)
