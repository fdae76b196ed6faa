"""Flower's configuration. Everything comes from the environment (`FLOWER_…`) or the command line; this file holds the
defaults, and refuses what is not safe.

    python -m celery -A workers.app flower --conf=flowerconfig.py --port=5555

Flower has read its environment and command line when it runs this file, and reads the command line once more after it.
Operators see ids and outcomes, and no payload: Flower has no result store here, so its `/api/task/result` answers 503.

Every name here that is an option of Flower sets it, so all others begin with an underscore.
"""

import os as _os
import re as _re
from ipaddress import ip_address as _ip_address
from typing import Any as _Any

from tornado.options import options as _given


def _is_loopback(host: str) -> bool:
    try:
        return _ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# Other machines see it only if somebody says so.
address = _given.address or "127.0.0.1"

# An empty entry would let everybody in who sends an empty login.
basic_auth = [_login for _login in _given.basic_auth or () if _login]
for _login in basic_auth:
    _user, _, _password = _login.partition(":")
    if not _user or not _password:
        raise SystemExit("FLOWER_BASIC_AUTH: an entry is not a login; write user:password, several with commas between")
if not basic_auth and not _given.auth and not _given.unix_socket and not _is_loopback(address):
    raise SystemExit(
        f"Flower would listen on {address} without a login, and can stop workers; set FLOWER_BASIC_AUTH=user:password,"
        " or leave FLOWER_ADDRESS at 127.0.0.1"
    )

# Flower keeps its history in memory, and 100,000 calls of it unless told otherwise.
max_tasks = int(_os.environ.get("FLOWER_MAX_TASKS") or 10_000)
max_workers = int(_os.environ.get("FLOWER_MAX_WORKERS") or 500)
# A worker that was replaced disappears from the list and from /metrics after as many seconds.
purge_offline_workers = int(_os.environ.get("FLOWER_PURGE_OFFLINE_WORKERS") or 300)

# FLOWER_PERSISTENT=true keeps the history over a restart, in the file FLOWER_DB.
persistent = _given.persistent
if persistent and not _given.state_save_interval:
    # Else it saves only when it stops in good order.
    state_save_interval = 30_000

natural_time = (_os.environ.get("FLOWER_NATURAL_TIME") or "true").lower() in ("true", "1", "yes", "on")
tasks_columns = (
    _os.environ.get("FLOWER_TASKS_COLUMNS") or "name,state,runtime,result,kwargs,received,started,worker,uuid"
)
# Calls wait on networks: the default buckets end at 10 s and begin at 5 ms.
task_runtime_metric_buckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]

#: What the gateway's own producers put there: ids, and nothing of the call's payload.
_IDS = _re.compile(r"(?:(?:correlation_id|request_id|caller|idempotency_key)=\S*(?: |$))*")
_OURS = _re.compile(r"^gateway\.errors\.(?!GatewayFaultError)", _re.MULTILINE)
_CORRELATION = _re.compile(r"(?: ·|,) correlation_id=[^\s)]*")
_HIDDEN = "(hidden: the payload of a call is not shown)"


def format_task(task: _Any) -> _Any:
    """Show ids and outcome of a call, and hide arguments that somebody sent without the gateway's producer.

    This concerns the pages only. Flower's API shows a task as its producer described it.
    """
    if task.args:
        task.args = "" if task.args in ("()", "[]") else _HIDDEN
    if task.kwargs:
        # The worker's event has the text as a Python string literal at times.
        text = task.kwargs.strip("'\"")
        task.kwargs = "" if text == "{}" else text if _IDS.fullmatch(text) else _HIDDEN
    if task.exception and _OURS.search(task.traceback or ""):
        # An answer of the service: where the worker raised it says nothing about it.
        task.traceback = None
    if task.runtime is None and task.started and (task.failed or task.retried):
        # The event of a failure has no runtime, and how long it took to fail is worth knowing.
        task.runtime = (task.failed or task.retried) - task.started
    # One column says how a call ended, and it is narrow: without what the columns beside it say.
    ended = str(task.result or task.exception or "").replace(f"{task.name}: ", "").replace(f" · {task.name}", "")
    task.result = _CORRELATION.sub("", ended)
    return task
