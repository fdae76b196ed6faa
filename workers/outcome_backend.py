"""Celery's Redis result backends, where a call's first outcome stands.

A worker that was cut off, or stopped for a while, may have an outcome when another one has taken its call over and told
what became of it. Celery's backend lets a later success replace an earlier failure: who had asked in between would have
been told something else. Here whoever comes second stores nothing.

It also saves the question that Celery asks before each store: one round trip in place of two.
"""

import logging
from typing import Any

from celery.backends import redis
from celery.backends.base import KeyValueStoreBackend
from celery.exceptions import BackendStoreError
from celery.states import FAILURE
from kombu.utils.encoding import bytes_to_str

from gateway.fleet_keys import owed
from gateway.records import key_of
from workers.outcome_store import guard_now, is_first_kept

__all__ = ["BACKENDS", "RedisOutcomes", "SentinelOutcomes"]

_log = logging.getLogger("gateway.calls")

#: By the scheme of a URL, as a Celery loader's `override_backends` has it.
BACKENDS = {
    "redis": "workers.outcome_backend:RedisOutcomes",
    "rediss": "workers.outcome_backend:RedisOutcomes",
    "sentinel": "workers.outcome_backend:SentinelOutcomes",
}

# KEYS: of the result, which is the channel of its notification too; of the call's record. ARGV: what is stored; seconds
# that it is kept, 0: for ever; the guard, see `workers.outcome_store.unless`.
# Returns 1 if it was stored, 0 if an outcome was there, or the guard holds it back. The state is the first field of
# what Celery writes.
_STORE = """
local guard = ARGV[3] or ''
if guard ~= '' then
  local lease = redis.call('HMGET', KEYS[2], 'lease', 'lease_until')
  local time = redis.call('TIME')
  if guard == 'recorded' and redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
  if lease[1] and (guard == 'leased' or tonumber(lease[2] or '0') > tonumber(time[1])) then return 0 end
end
local known = redis.call('GETRANGE', KEYS[1], 0, 40)
local state = string.match(known, '^{"status": "(%u+)"')
if state == 'SUCCESS' or state == 'FAILURE' or state == 'REVOKED' then return 0 end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
"""


class _FirstStands(KeyValueStoreBackend):
    """For a class of `celery.backends.redis`, before it."""

    client: Any
    _script: Any = None

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **options: Any
    ) -> Any:
        """As Celery's for all tasks but calls."""
        celery: Any = super()
        if not is_first_kept():
            return celery._store_result(task_id, result, state, traceback=traceback, request=request, **options)
        backend: Any = self
        meta = backend._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        value = backend.encode({**meta, "task_id": bytes_to_str(task_id)})
        if len(value) > backend._MAX_STR_VALUE_SIZE:
            raise BackendStoreError("the outcome is too large for Redis")
        if self._script is None:
            self._script = self.client.register_script(_STORE)
        expires_s = backend.failure_expires if state == FAILURE else backend.expires
        arguments = [value, int(expires_s or 0), guard_now()]
        if not self._script(keys=[backend.get_key_for_task(task_id), key_of(task_id)], args=arguments):
            # Perhaps by this very worker, when an answer was lost.
            _log.info("an outcome is not stored: the call has one, or a worker has the call call_id=%s", task_id)
        return result

    def owe(self, call_id: str) -> None:
        """Write down that what follows a call is not enqueued, for as long as its outcome is kept."""
        backend: Any = self
        self.client.set(owed(call_id), 1, ex=int(backend.expires or 0) or None)

    def owing(self, call_id: str) -> bytes | None:
        """The stored outcome of a call after which something is still to be enqueued."""
        backend: Any = self
        note, payload = self.client.mget(owed(call_id), backend.get_key_for_task(call_id))
        return payload if note else None

    def paid(self, call_id: str) -> None:
        """Nothing is to be enqueued after it any more."""
        self.client.delete(owed(call_id))


class RedisOutcomes(_FirstStands, redis.RedisBackend):
    """For `redis://`, `rediss://` and `redis+socket://`."""


class SentinelOutcomes(_FirstStands, redis.SentinelBackend):
    """For `sentinel://`."""
