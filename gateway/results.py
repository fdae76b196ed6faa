"""The producer's view of the result store: where a call is, and what it ended with."""

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from celery import Celery

from gateway.errors import CallCancelledError, Delivery, GatewayUnavailableError, OutcomeUnknownError
from gateway.publisher import Message
from gateway.records import GRACE_S, RESULT_EXPIRES_S, CallState, key_of, submitted
from gateway.redis_client import ERRORS, open_sync
from gateway.reply import Reply

__all__ = ["Results"]


class Results:
    """Reads results and keeps the records of calls. Connects on first use.

    Args:
        celery: the app whose backend stores the results.
        url: of the Redis that holds them.
    """

    def __init__(self, celery: Celery, url: str) -> None:
        self._backend: Any = celery.backend
        self._url = url

    @cached_property
    def _redis(self) -> Any:
        return open_sync(self._url)

    def key(self, call_id: str) -> str:
        """The result's key, which is also the channel that announces it."""
        key = self._backend.get_key_for_task(call_id)
        return key.decode() if isinstance(key, bytes) else str(key)

    def record(self, messages: Sequence[Message]) -> None:
        """Write down calls that are about to be enqueued.

        Raises:
            GatewayUnavailableError: the store does not answer.
        """
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for message in messages:
                    key = key_of(message.call_id)
                    pipe.hset(key, mapping=submitted(message.deadline_at))
                    pipe.expireat(key, int(message.deadline_at) + RESULT_EXPIRES_S + GRACE_S)
                pipe.execute()
        except ERRORS as error:
            raise _is_away(error, messages[0].call_id) from error

    def state(self, call_id: str) -> CallState:
        """Where a call is. See `record` for errors."""
        payload, record = self._read(call_id)
        if payload is not None:
            revoked = self._backend.decode(payload).get("status") == "REVOKED"
            return CallState.CANCELLED if revoked else CallState.DONE
        try:
            return CallState(record.get(b"state", b"unknown").decode())
        except ValueError:  # a newer version's state
            return CallState.UNKNOWN

    def deadline_of(self, call_id: str) -> float:
        """When nobody waits any more for a call, as a Unix time; now, if it has its outcome. See `record` for errors.

        Raises:
            OutcomeUnknownError: nothing is known of the call.
        """
        payload, record = self._read(call_id)
        if payload is not None:
            return time.time()
        if b"deadline_at" not in record:
            raise OutcomeUnknownError(
                f"nothing is known of call {call_id}: the id is wrong, its result has expired, or no worker has seen it"
                " yet; pass a timeout to wait nevertheless",
                call_id=call_id,
            )
        return float(record[b"deadline_at"])

    def mark_cancelled(self, call_id: str) -> bool:
        """Write down that a call is cancelled. False if it has its outcome already. See `record` for errors."""
        payload, _ = self._read(call_id)
        if payload is not None:
            return False
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(key_of(call_id), "state", CallState.CANCELLED.value)
                pipe.expire(key_of(call_id), RESULT_EXPIRES_S + GRACE_S)
                pipe.execute()
        except ERRORS as error:
            raise _is_away(error, call_id) from error
        return True

    def outcome(self, payload: bytes) -> Reply:
        """The reply that was stored.

        Raises:
            ServiceError: the error that was stored.
        """
        meta = self._backend.meta_from_decoded(self._backend.decode(payload))
        if meta["status"] == "SUCCESS":
            return Reply.from_wire(meta["result"])
        if meta["status"] == "REVOKED":
            raise CallCancelledError(
                "the call was cancelled", delivery=Delivery.MAYBE_SENT, call_id=meta.get("task_id")
            )
        raise meta["result"]

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def _read(self, call_id: str) -> tuple[bytes | None, dict[bytes, bytes]]:
        """The stored result and the record, in one round trip."""
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.get(self.key(call_id))
                pipe.hgetall(key_of(call_id))
                payload, record = pipe.execute()
        except ERRORS as error:
            raise _is_away(error, call_id) from error
        return payload, record


def _is_away(error: Exception, call_id: str) -> GatewayUnavailableError:
    return GatewayUnavailableError(
        f"the result store does not answer ({type(error).__name__}: {error}); is it running and reachable?",
        call_id=call_id,
    )
