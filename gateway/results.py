"""The producer's view of the result store: where a call is, and what it ended with."""

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from celery import Celery
from redis.exceptions import NoScriptError

from gateway.clock import FleetClock
from gateway.errors import Delivery, GatewayUnavailableError, OutcomeUnknownError, ServiceError
from gateway.fleet_keys import parked, parked_deadlines
from gateway.idempotency import CLAIM, RELEASE, Claim, Held
from gateway.publisher import Message
from gateway.records import GRACE_S, RESULT_EXPIRES_S, CallState, key_of, result_may_be_gone_at, submitted
from gateway.redis_client import ERRORS, open_sync
from gateway.reply import Reply
from gateway.stored_result import StoredResult

__all__ = ["Results", "expired"]

#: How the result of a call that succeeded begins, as Celery stores it.
_SUCCESS = b'{"status": "SUCCESS"'
#: By which the server knows a script.
_SHA = {script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest() for script in (CLAIM, RELEASE)}
#: An answer that took longer tells the time badly.
_SLOW_S = 0.05


#: What the record says of a call until it is cancelled; that it has ended is told by its result.
_GOES_ON = (CallState.PENDING, CallState.RUNNING, CallState.PARKED)


class Results:
    """Reads results and keeps the records of calls. Connects on first use.

    Args:
        celery: the app whose backend stores the results.
        url: of the Redis that holds them.
        clock: learns that Redis's time from whatever is asked here.

    Attributes:
        clock: the same.
    """

    def __init__(self, celery: Celery, url: str, clock: FleetClock) -> None:
        self.clock = clock
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

    def now(self) -> float:
        """Fleet time. It is asked for if it is not known: at first, and after this host slept or its time was set.

        Raises:
            GatewayUnavailableError: the store does not answer.
        """
        if not self.clock.is_sure:
            try:
                asked_at = self.clock.monotonic()
                told = self._redis.time()
                # The first answer took as long as it took to connect.
                if self.clock.monotonic() - asked_at > _SLOW_S:
                    asked_at = self.clock.monotonic()
                    told = self._redis.time()
            except ERRORS as error:
                raise _is_away(error, None) from error
            self._learn(told, asked_at)
        return self.clock.now()

    def record(self, messages: Sequence[Message]) -> None:
        """Write down calls that are about to be enqueued.

        Raises:
            GatewayUnavailableError: the store does not answer.
        """
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for message in messages:
                    key = key_of(message.call_id)
                    pipe.hset(key, mapping=_submitted(message))
                    pipe.expireat(key, _expires_at(message))
                if self.clock.is_fresh:
                    pipe.execute()
                    return
                pipe.time()
                asked_at = self.clock.monotonic()
                self._learn(pipe.execute()[-1], asked_at)
        except ERRORS as error:
            raise _is_away(error, messages[0].call_id) from error

    def claim(self, message: Message, claim: Claim, *, instead_of: str = "") -> tuple[Held | None, float]:
        """Write down a call that is about to be enqueued, unless its idempotency key was used before.

        Args:
            message: of the call.
            claim: on the key.
            instead_of: id of an ended call that the key is taken from.

        Returns:
            The call that has the key, None if it is this one now; and fleet time. See `record` for errors.
        """
        prefix = self.key(message.call_id).removesuffix(message.call_id)
        fields = [part for field in _submitted(message).items() for part in field]
        asked_at = self.clock.monotonic()
        try:
            answer = self._run(
                CLAIM,
                [claim.key, key_of(message.call_id)],
                [
                    *(message.call_id, claim.fingerprint, instead_of, _expires_at(message)),
                    *(_SUCCESS, key_of(""), prefix, *fields),
                ],
            )
        except ERRORS as error:
            raise _is_away(error, message.call_id) from error
        told = (int(answer[0]), int(answer[1]))
        self._learn(told, asked_at)
        return self._held(*answer[2:]) if len(answer) > 2 else None, _seconds(told)

    def release(self, call_id: str, claim: Claim) -> bool:
        """Take back what `claim` wrote, of a call that was not enqueued. As well as it goes, as `forget`.

        Returns:
            False if another submit shares the call, and may have enqueued it: then all stays.
        """
        with contextlib.suppress(*ERRORS, RuntimeError):
            return bool(self._run(RELEASE, [claim.key, key_of(call_id)], [call_id]))
        return True

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
        """When nobody waits any more for a call, fleet time; None if that is not written down.

        It is not for a call that has its outcome, or whose worker is of a version that does not write it.

        Raises:
            OutcomeUnknownError: nothing is known of the call, or its result has expired.
            GatewayUnavailableError: the store does not answer.
        """
        payload, record = self._read(call_id)
        if self._state(call_id, payload, record) is CallState.EXPIRED:
            raise expired(call_id)
        if b"deadline_at" in record:
            return float(record[b"deadline_at"])
        if payload is None and b"state" not in record:
            raise OutcomeUnknownError(
                f"nothing is known of call {call_id}: the id is wrong, all of it has expired, or no worker has seen it"
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
                pipe.hget(key_of(call_id), "service")
                service = pipe.execute()[-1]
            if service is not None:
                # A parked call goes to a worker at once, to be ended. One that is parked after this does so by itself.
                self._redis.zadd(parked_deadlines(service.decode()), {call_id: 0}, xx=True)
        except ERRORS as error:
            raise _is_away(error, call_id) from error
        return True

    def parked(self, service: str) -> int:
        """How many calls of a service wait outside the workers. See `record` for errors."""
        try:
            return int(self._redis.zcard(parked(service)))
        except ERRORS as error:
            raise _is_away(error, None) from error

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
        if payload is None and state in _GOES_ON and self.clock.now() >= result_may_be_gone_at(record):
            return CallState.EXPIRED
        return state

    def _read(self, call_id: str) -> tuple[bytes | None, dict[bytes, bytes]]:
        """The stored result and the record, in one round trip."""
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.get(self.key(call_id))
                pipe.hgetall(key_of(call_id))
                pipe.time()
                asked_at = self.clock.monotonic()
                payload, record, told = pipe.execute()
                self._learn(told, asked_at)
        except ERRORS as error:
            raise _is_away(error, call_id) from error
        return payload, record

    def _held(
        self,
        call_id: bytes,
        fingerprint: bytes,
        state: bytes | None,
        deadline_at: bytes | None,
        maybe: bytes | None,
        payload: bytes | None,
    ) -> Held:
        name = call_id.decode()
        delivery: Delivery | None = None
        if payload == _SUCCESS:
            state, delivery = CallState.DONE.value.encode(), Delivery.ANSWERED
        elif payload is not None and self.is_final(payload):
            try:
                self.outcome(name, payload)
                delivery = Delivery.ANSWERED
            except ServiceError as error:
                delivery = error.delivery
        return Held(
            name,
            fingerprint.decode(),
            self._state(name, None if payload == _SUCCESS else payload, {} if state is None else {b"state": state}),
            None if deadline_at is None else float(deadline_at),
            delivery,
            maybe == b"1",
        )

    def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script, which the server knows from the first time on."""
        try:
            return self._redis.evalsha(_SHA[script], len(keys), *keys, *args)
        except NoScriptError:
            return self._redis.eval(script, len(keys), *keys, *args)

    def _learn(self, told: tuple[int, int], asked_at: float) -> None:
        self.clock.observe(_seconds(told), asked_at, self.clock.monotonic())


def expired(call_id: str) -> OutcomeUnknownError:
    """What there is instead of an outcome that is gone."""
    return OutcomeUnknownError(
        f"the result of call {call_id} has expired: it is kept for {RESULT_EXPIRES_S / 3600:g} h; ask earlier, or"
        " keep what you need of it",
        call_id=call_id,
    )


def _seconds(told: tuple[int, int]) -> float:
    """Redis's answer to TIME, as a Unix time."""
    return told[0] + told[1] / 1e6


def _submitted(message: Message) -> dict[str, Any]:
    return submitted(message.deadline_at, message.kwargs["sent_at"], message.kwargs.get("caller"))


def _expires_at(message: Message) -> int:
    """When what is known of a call is forgotten, as a Unix time."""
    return int(message.deadline_at) + RESULT_EXPIRES_S + GRACE_S


def _is_away(error: Exception, call_id: str | None) -> GatewayUnavailableError:
    return GatewayUnavailableError(
        f"the result store does not answer ({type(error).__name__}: {error}); is it running and reachable?",
        call_id=call_id,
    )
