"""The remote control commands `revoke` and `terminate`, for a fleet of workers of which one holds the call.

Celery's own write REVOKED on every worker that does not hold a task, as long as the result store has nothing of it:
also over a call that runs elsewhere. Who waits for it would be told that it was cancelled, whatever it ends with.
Here only the worker that holds a call, or that gets it later, says how it ended.
"""

from collections.abc import Iterable
from typing import Any

from celery.utils.functional import maybe_list
from celery.utils.log import get_logger
from celery.worker import state as worker_state
from celery.worker.control import Panel, control_command

from workers.request import CallRequest

__all__ = ["install", "revoke", "terminate"]

logger = get_logger(__name__)

#: Celery's, for tasks that are not calls.
_revoke_ordinary = Panel.data["revoke"]


def revoke(
    state: Any, task_id: str | Iterable[str], terminate: bool = False, signal: Any = None, **options: Any
) -> dict[str, Any]:
    """Revoke tasks by id: they do not start. With `terminate`, those that run are ended too."""
    ids = set(maybe_list(task_id) or ())
    held = {name: worker_state.requests[name] for name in ids if name in worker_state.requests}
    ordinary = [name for name, request in held.items() if not isinstance(request, CallRequest)]
    worker_state.revoked.update(ids.difference(ordinary))
    if ordinary:
        _revoke_ordinary(state, ordinary, terminate, signal, **options)
    ended = list(ordinary) if terminate else []
    for name, request in held.items():
        if isinstance(request, CallRequest) and (terminate or request not in worker_state.active_requests):
            request.terminate(state.consumer.pool, signal)
            ended.append(name)
    logger.info("revoked: %s", ", ".join(sorted(ids)))
    if not terminate:
        return {"ok": f"tasks {ids} flagged as revoked"}
    return {"ok": f"terminate: {', '.join(ended)}" if ended else "terminate: tasks unknown"}


def terminate(state: Any, signal: Any, task_id: str | Iterable[str], **options: Any) -> dict[str, Any]:
    """End tasks by id."""
    answer: dict[str, Any] = revoke(state, task_id, terminate=True, signal=signal)
    return answer


def install() -> None:
    """Put them in the place of Celery's, for this process."""
    control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")(revoke)
    control_command(variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]")(terminate)
