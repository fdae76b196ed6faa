"""The worker's view of one call: what operators and events may see of it, and nothing more."""

from typing import Any

from celery.worker.request import Request

from gateway import routing
from workers.job import Stage

__all__ = ["CallRequest"]


class CallRequest(Request):
    """A request whose representations hold nothing of the call's payload, whatever its producer sent."""

    _payload: Any
    _request_dict: dict[str, Any]
    _apply_result: Any

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        args, kwargs, _ = self._payload
        name, summary = routing.describe(kwargs)
        self.task_name = self._request_dict.get("shadow") or name
        self._argsrepr = f"({len(args)} earlier)" if args else "()"
        self._kwargsrepr = summary or "{}"
        # The tracer takes them from here; where one is empty, it would represent the payload itself.
        self._request_dict.update(shadow=self.name, argsrepr=self._argsrepr, kwargsrepr=self._kwargsrepr)
        # Decoded once: the tracer decodes again only what has a content type.
        self._body = self._payload
        self._content_type = self._content_encoding = None

    def info(self, safe: bool = False) -> Any:
        """What `inspect active`, `reserved`, `scheduled` and `query_task` show; never the payload."""
        return super().info(safe=True)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Cancel it because its message will be delivered again: at a cold stop or a lost connection.

        A call that has its outcome goes on: it is stored and acknowledged, since running it again cannot be better. No
        RETRY is stored, which nobody could tell from a call that still runs.
        """
        job = self._apply_result() if self._apply_result is not None else None
        if job is not None and job.stage is Stage.SETTLED:
            return
        super().cancel(pool, signal, emit_retry=False)
