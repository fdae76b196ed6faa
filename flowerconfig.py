"""Flower's configuration. Everything comes from the environment (`FLOWER_…`) or the command line; this file holds the
defaults, and refuses what is not safe.

    python -m celery -A workers.app flower --conf=flowerconfig.py --port=5555

Flower has read its environment and command line when it runs this file, and reads the command line once more after it.
Operators see ids and outcomes, and no payload: Flower has no result store here, so its `/api/task/result` answers 503.

Every name here that is an option of Flower sets it, so all others begin with an underscore.
"""

import os as _os
import re as _re
from ast import literal_eval as _literal
from typing import Any as _Any
from urllib.parse import urlsplit as _urlsplit

from flower.views.monitor import Metrics as _Metrics
from tornado.options import options as _given
from tornado.web import authenticated as _authenticated

from gateway.log_guard import LogGuard as _LogGuard
from gateway.redaction import SECRETS as _SECRETS

_YES = ("true", "1", "yes", "on")


def _oauth2(name: str) -> str | None:
    return getattr(_given, f"oauth2_{name}") or _os.environ.get(f"FLOWER_OAUTH2_{name.upper()}")


# Other machines see it only if somebody says so.
address = _given.address or "127.0.0.1"

# An empty entry would let everybody in who sends an empty login.
basic_auth = [_login for _login in _given.basic_auth or () if _login]
for _login in basic_auth:
    _user, _, _password = _login.partition(":")
    if not _user or not _password:
        raise SystemExit("FLOWER_BASIC_AUTH: an entry is not a login; write user:password, several with commas between")
    if _password in (_user, "password", "admin", "flower", "changeme", "secret"):
        raise SystemExit(f"FLOWER_BASIC_AUTH: the password of {_user!r} is anybody's guess; make a random one")
# On this host's own address too: every user of the host, and every page in a browser on it, reaches that.
if not basic_auth and not _given.auth and not _given.unix_socket:
    raise SystemExit(
        f"Flower would listen on {address} without a login, and can stop workers; set FLOWER_BASIC_AUTH=user:password,"
        " or FLOWER_AUTH and FLOWER_AUTH_PROVIDER for OAuth"
    )
if _given.auth and not (_given.auth_provider and all(map(_oauth2, ("key", "secret", "redirect_uri")))):
    raise SystemExit(
        "FLOWER_AUTH is set, and OAuth is not complete; set FLOWER_AUTH_PROVIDER, FLOWER_OAUTH2_KEY,"
        " FLOWER_OAUTH2_SECRET and FLOWER_OAUTH2_REDIRECT_URI"
    )
# At DEBUG it logs its settings, and when it cannot ask RabbitMQ's management plugin, the URL.
_LogGuard(_SECRETS).install()
for _secret in (
    *(_login.partition(":")[2] for _login in basic_auth),
    _given.cookie_secret,
    _oauth2("secret"),
    _urlsplit(_given.broker_api or "").password,
):
    if _secret:
        _SECRETS.register(_secret, sent=False)
# Flower itself shows these to everybody. Prometheus can send a login; /healthcheck stays open, and says OK alone.
_Metrics.get = _authenticated(_Metrics.get)

# Flower keeps its history in memory, and 100,000 calls of it unless told otherwise.
max_tasks = int(_os.environ.get("FLOWER_MAX_TASKS") or 10_000)
max_workers = int(_os.environ.get("FLOWER_MAX_WORKERS") or 500)
# A worker that was replaced disappears from the list and from /metrics after as many seconds.
purge_offline_workers = int(_os.environ.get("FLOWER_PURGE_OFFLINE_WORKERS") or 300)

# The history survives a restart, in the file FLOWER_DB; FLOWER_PERSISTENT=false keeps it in memory alone.
persistent = (_os.environ.get("FLOWER_PERSISTENT") or "true").lower() in _YES
# It is a pickle: whoever can write it can make Flower do anything.
db = _given.db if _given.db != "flower" else "flower.db"
if persistent and not _given.state_save_interval:
    # Else it saves only when it stops in good order.
    state_save_interval = 30_000

natural_time = (_os.environ.get("FLOWER_NATURAL_TIME") or "true").lower() in _YES
tasks_columns = (
    _os.environ.get("FLOWER_TASKS_COLUMNS") or "name,state,runtime,result,kwargs,received,started,worker,uuid"
)
# Calls wait on networks: the default buckets end at 10 s and begin at 5 ms.
task_runtime_metric_buckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]

_FIELDS = frozenset(("correlation_id", "request_id", "caller", "idempotency_key"))
_CORRELATION = _re.compile(r"(?: ·|,) correlation_id=[^\s)]*")
_HIDDEN = "(hidden: the payload of a call is not shown)"


def _ids(text: str) -> str | None:
    """The ids that workers describe a call with, one after the other; None if it is a description of somebody else."""
    try:
        said = _literal(text)
        # The worker's event has the text as a Python string literal at times.
        said = _literal(said) if isinstance(said, str) else said
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(said, dict) or not said.keys() <= _FIELDS:
        return None
    return " ".join(f"{name}={value}" for name, value in said.items())


def format_task(task: _Any) -> _Any:
    """Show ids and outcome of a call, and hide arguments that somebody sent without the gateway's producer.

    This concerns the pages only. Flower's API shows a task as its producer described it.
    """
    if task.args:
        task.args = "" if task.args in ("()", "[]") else _HIDDEN
    if task.kwargs:
        ids = _ids(task.kwargs)
        task.kwargs = _HIDDEN if ids is None else ids
    # One column says how a call ended, and it is narrow: without what the columns beside it say.
    ended = str(task.result or task.exception or "").replace(f"{task.name}: ", "").replace(f" · {task.name}", "")
    task.result = _CORRELATION.sub("", ended)
    return task
