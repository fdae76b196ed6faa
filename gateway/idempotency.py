"""Single flight: what an idempotency key stands for, and what becomes of a second submit with the same one.

A caller's key names one call. It is kept in the result Redis, in the hash `gateway:idempotency:<caller>:<SHA-256 of the
key>` with the fields `call_id`, `fingerprint` of the call, and `joined` once a second submit may have enqueued the call
as well; it lives as long as the call's record. A caller without a name is `-`.
"""

import hashlib
import json
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from gateway.call import Call
from gateway.errors import Delivery, InvalidCallError
from gateway.records import CallState

__all__ = ["CLAIM", "RELEASE", "Claim", "Held", "Verdict", "decide", "fingerprint"]

#: Take a key for a new call and write the call's record; or tell who has it. One step, so that of many submits at once
#: one takes it.
#:
#: KEYS: the idempotency key's hash, the new call's record. ARGV: the new call's id, the fingerprint, the id of the call
#: that the key may be taken from ("" if from none), when both expire (Unix s), how a stored success begins, what the
#: key of a record begins with, what the key of a result begins with, and then the record's fields and values.
#: Returns the time (s, µs); if the key is taken also the call's id and fingerprint, of its record `state`,
#: `deadline_at` and `maybe`, and its result. Of a success only how it begins: it may be large, and is not looked at.
CLAIM = """
local time = redis.call('TIME')
local held = redis.call('HMGET', KEYS[1], 'call_id', 'fingerprint')
-- A command whose answer was lost is sent again: then the key is the new call's already.
if held[1] and held[1] ~= ARGV[1] and held[1] ~= ARGV[3] then
  local record = redis.call('HMGET', ARGV[6] .. held[1], 'state', 'deadline_at', 'maybe')
  local result = redis.call('GETRANGE', ARGV[7] .. held[1], 0, #ARGV[5] - 1)
  if result ~= ARGV[5] then result = redis.call('GET', ARGV[7] .. held[1]) end
  if record[1] == 'pending' and not result and held[2] == ARGV[2] then redis.call('HSET', KEYS[1], 'joined', 1) end
  return {time[1], time[2], held[1], held[2], record[1], record[2], record[3], result}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'call_id', ARGV[1], 'fingerprint', ARGV[2])
redis.call('EXPIREAT', KEYS[1], ARGV[4])
redis.call('HSET', KEYS[2], unpack(ARGV, 8))
redis.call('EXPIREAT', KEYS[2], ARGV[4])
return {time[1], time[2]}
"""

#: Give a key and the record of its call back, unless somebody else has joined the call. KEYS as in `CLAIM`, ARGV: the
#: call's id. Returns 1, or 0 if the call was joined: both stay then.
RELEASE = """
local held = redis.call('HMGET', KEYS[1], 'call_id', 'joined')
if held[1] == ARGV[1] then
  if held[2] then return 0 end
  redis.call('DEL', KEYS[1])
end
redis.call('DEL', KEYS[2])
return 1
"""


class Claim(NamedTuple):
    """A submit's claim on an idempotency key.

    Attributes:
        key: the Redis key.
        fingerprint: of the call.
    """

    key: str
    fingerprint: str

    @classmethod
    def of(cls, caller: str | None, idempotency_key: str, call: Call) -> "Claim":
        """Of a caller for a call."""
        hashed = hashlib.sha256(idempotency_key.encode()).hexdigest()
        return cls(f"gateway:idempotency:{caller or '-'}:{hashed}", fingerprint(call))


class Held(NamedTuple):
    """The call that a key was used for.

    Attributes:
        call_id: its id.
        fingerprint: what was asked.
        state: where it is.
        deadline_at: when nobody waits any more, fleet time; None if its record is gone.
        delivery: of its outcome, if it has one; a reply is an answer.
        maybe_sent: whether an attempt before its last one may have reached the service.
    """

    call_id: str
    fingerprint: str
    state: CallState
    deadline_at: float | None
    delivery: Delivery | None
    maybe_sent: bool


class Verdict(Enum):
    """What a second submit does."""

    SHARE = "share"
    """Take the call as it is."""

    ENQUEUE = "enqueue"
    """Take it, and enqueue it once more under its id: whoever recorded it may have died before it was enqueued."""

    REPLACE = "replace"
    """The key is free again: execute the new call instead."""


def decide(held: Held, claim: Claim, *, now: float, margin_s: float) -> Verdict:
    """What becomes of a submit whose key was used before.

    Args:
        held: the call that it was used for.
        claim: of the submit.
        now: fleet time.
        margin_s: how long after its deadline a call's outcome is still awaited.

    Raises:
        InvalidCallError: it was used for another call, which the service may have seen with it.
    """
    waited_for = held.deadline_at is not None and now <= held.deadline_at + margin_s
    answered = held.delivery is Delivery.ANSWERED
    ended = held.state is CallState.CANCELLED or held.delivery is not None or not waited_for
    never_sent = held.delivery is Delivery.NOT_SENT and not held.maybe_sent
    if held.fingerprint != claim.fingerprint and not never_sent:
        raise InvalidCallError.because(
            "idempotency_key",
            f"it was used for another call ({held.call_id})",
            "use a key of its own for each call, or pass the call as it was",
        )
    if ended and not answered:
        return Verdict.REPLACE
    # Past its deadline a message would only be dropped.
    if held.state is CallState.PENDING and held.deadline_at is not None and now < held.deadline_at:
        return Verdict.ENQUEUE
    return Verdict.SHARE


def fingerprint(call: Call) -> str:
    """SHA-256 of what is asked of the service, as hexadecimal text.

    The order of members counts nowhere, neither in `path`, `query`, `headers` and the like nor inside a JSON body
    (RFC 8259, section 1: an object is unordered); the order of lists does. Names of headers are the same in any case
    (RFC 9110, section 5.1). `attempt_timeout` is not asked of the service. Values are compared as they are written: 1,
    1.0 and "1" differ.
    """
    asked: dict[str, Any] = msgspec.to_builtins(call)
    asked.pop("attempt_timeout", None)
    if "headers" in asked:
        asked["headers"] = sorted((name.lower(), value) for name, value in asked["headers"].items())
    # Not msgspec's encoder, which refuses integers of more than 64 bits.
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
