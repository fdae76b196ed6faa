"""The producer's view of the result store: where a call is, and what it ended with."""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from celery import Celery

from gateway.errors import GatewayUnavailableError, OutcomeUnknownError
from gateway.publisher import Message
from gateway.records import GRACE_S, RESULT_EXPIRES_S, CallState, key_of, submitted
from gateway.redis_client import ERRORS, open_sync
from gateway.reply import Reply
from gateway.stored_result import StoredResult

__all__ = ["Results"]


class Results:
    """Reads results and keeps the records of calls. Connects on first use.

    Args:
        celery: the app whose backend stores the results.
        url: of the Redis that holds them.
    """

    def __init__(self, celery: Celery, url: str) -> None:
        # For names and decoding alone, which any thread may do: Celery makes one for each thread that asks.
        self._backend: Any = celery.backend
        self._url = url
        self._client: Any = open_sync(url)
        self._closed = False

    @property
    def _redis(self) -> Any:
        if self._closed:
            raise RuntimeError("the gateway is closed; make a new one")
        return self._client

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

    def forget(self, call_ids: Iterable[str]) -> None:
        """Take back what `record` wrote, of calls that were not enqueued. As well as it goes: records expire anyway."""
        with contextlib.suppress(*ERRORS, RuntimeError):
            self._redis.delete(*map(key_of, call_ids))

    def state(self, call_id: str) -> CallState:
        """Where a call is. See `record` for errors."""
        payload, record = self._read(call_id)
        return self._state(call_id, payload, record)

    def look(self, call_id: str) -> tuple[bytes | None, CallState]:
        """The stored outcome, if there is one, and where the call is. See `record` for errors."""
        payload, record = self._read(call_id)
        final = payload is not None and self.is_final(payload)
        return payload if final else None, self._state(call_id, payload, record)

    def deadline_of(self, call_id: str) -> float | None:
        """When nobody waits any more for a call, as a Unix time; None if that is not written down.

        It is not for a call that has its outcome, or whose worker is of a version that does not write it.

        Raises:
            OutcomeUnknownError: nothing is known of the call.
            GatewayUnavailableError: the store does not answer.
        """
        payload, record = self._read(call_id)
        if b"deadline_at" in record:
            return float(record[b"deadline_at"])
        if payload is None and b"state" not in record:
            raise OutcomeUnknownError(
                f"nothing is known of call {call_id}: the id is wrong, its result has expired, or no worker has seen it"
                " yet; pass a timeout to wait nevertheless",
                call_id=call_id,
            )
        return None

    def mark_cancelled(self, call_id: str) -> bool:
        """Write down that a call is cancelled. False if it has its outcome already. See `record` for errors."""
        outcome, _ = self.look(call_id)
        if outcome is not None:
            return False
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(key_of(call_id), "state", CallState.CANCELLED.value)
                pipe.expire(key_of(call_id), RESULT_EXPIRES_S + GRACE_S)
                pipe.execute()
        except ERRORS as error:
            raise _is_away(error, call_id) from error
        return True

    def is_final(self, payload: bytes) -> bool:
        """Whether a stored payload is an outcome."""
        return StoredResult.is_final(payload, self._backend)

    def outcome(self, call_id: str, payload: bytes) -> Reply:
        """The reply that was stored.

        Raises:
            ServiceError: the error that was stored.
        """
        return StoredResult(payload, self._backend, call_id).reply()

    def close(self) -> None:
        """Give the connections back, for good."""
        self._closed = True
        self._client.close()

    def renew_after_fork(self) -> None:
        """In a forked child: connect anew. The old client leaves its parent's sockets alone by itself."""
        self._client = open_sync(self._url)

    def _state(self, call_id: str, payload: bytes | None, record: dict[bytes, bytes]) -> CallState:
        if payload is not None and self.is_final(payload):
            return StoredResult(payload, self._backend, call_id).state
        try:
            state = CallState(record.get(b"state", b"unknown").decode())
        except ValueError:  # a newer version's state
            return CallState.UNKNOWN
        if state is CallState.UNKNOWN and payload is not None:
            return StoredResult(payload, self._backend, call_id).state
        return state

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
