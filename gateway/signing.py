"""A caller's signature on a call: a JWT (RFC 7519) beside the call, with the hash of all that is asked.

    kwargs["signature"] = JWS(header={"alg", "typ"}, claims)

| claim | |
|---|---|
| `iss` | the caller; the same as the call's `caller` |
| `iat`, `exp` | when it was signed, and until when it is taken; Unix time in seconds of the result store's clock |
| `sub` | the call's id; absent from a step of which nobody knows the id yet |
| `jti` | of such a step: the first call that comes with it is the only one |
| `of` | `message`: the arguments and what Celery wires to them are signed too; `step`: the keyword arguments alone |
| `sha256` | hexadecimal hash of `canonical` |

What is hashed is what a worker executes, not how it was written: a worker hashes the arguments as it has decoded them.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from gateway.signing_key import SigningKey

__all__ = ["SIGNATURE", "STEP_S", "Claims", "SignatureProblem", "canonical", "sign_message", "sign_step", "verify"]

#: The keyword argument that carries it.
SIGNATURE = "signature"

#: A message is late long before that, and is told so: its deadline is in what is signed.
_LATE_S = 3600
#: A step of a chain may wait for those before it. Shorter than a call's record lives, so that what is enqueued again
#: later than that is not new to anybody.
STEP_S = 24 * 3600
#: How far a producer's clock may be ahead: it knows the store's only from its last answer.
_AHEAD_S = 60
_TYPE = "gateway-call+jwt"
#: Much longer than any that is made; a text from the broker is not parsed without a bound.
_MOST_CHARACTERS = 4096


class SignatureProblem(ValueError):
    """A signature is not accepted; one word for counting, and a line that says why."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a signature says; see the module."""

    iss: str
    iat: float
    exp: float
    of: Literal["message", "step"]
    sha256: str
    sub: str | None = None
    jti: str | None = None


_claims = msgspec.json.Decoder(Claims)


def sign_message(
    key: SigningKey,
    caller: str,
    call_id: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    embed: Mapping[str, Any],
    *,
    now: float,
) -> str:
    """Sign a message as it is enqueued: its id, its arguments, and what Celery is to do with its outcome.

    Args:
        key: the caller's.
        caller: its name.
        call_id: of the call.
        args, kwargs, embed: the body of Celery's task protocol 2.
        now: fleet time.
    """
    until = kwargs.get("deadline_at")
    claims = Claims(
        iss=caller,
        iat=now,
        exp=(now + STEP_S) if until is None else until + _LATE_S,
        of="message",
        sha256=_hash([call_id, args, _signed(kwargs), _wired(embed)]),
        sub=call_id,
    )
    return _sign(key, claims)


def sign_step(key: SigningKey, caller: str, call_id: str | None, kwargs: Mapping[str, Any], *, now: float) -> str:
    """Sign a call that somebody else will enqueue: a later step of a chain, a callback, the body of a chord.

    Args:
        key, caller, now: as in `sign_message`.
        call_id: of the call; None where it has none yet: then the signature is good for one call, whichever is first.
        kwargs: of the task.
    """
    claims = Claims(
        iss=caller,
        iat=now,
        exp=now + STEP_S,
        of="step",
        sha256=_hash([call_id, _signed(kwargs)]),
        sub=call_id,
        jti=secrets.token_urlsafe(16) if call_id is None else None,
    )
    return _sign(key, claims)


def verify(
    text: str,
    keys: Sequence[SigningKey],
    call_id: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    embed: Mapping[str, Any],
    *,
    now: float,
) -> Claims:
    """The claims of a signature that one of the caller's keys made over this call.

    Args:
        text: the signature.
        keys: of the caller whose name is in `kwargs`.
        call_id, args, kwargs, embed: of the message.
        now: fleet time.

    Raises:
        SignatureProblem: it is not to be believed, or is no longer.
    """
    if len(text) > _MOST_CHARACTERS:
        raise SignatureProblem("malformed", "its signature is too long")
    claims = _open(text, keys)
    if claims.iss != kwargs.get("caller"):
        raise SignatureProblem("tampered", "its signature is of another caller")
    if claims.sub is not None and claims.sub != call_id:
        raise SignatureProblem("replayed", "its signature is of a call with another id")
    if claims.sub is None and (claims.jti is None or claims.of != "step"):
        raise SignatureProblem("malformed", "its signature is of no call")
    signed: list[Any] = [claims.sub, _signed(kwargs)]
    if claims.of == "message":
        signed = [claims.sub, args, _signed(kwargs), _wired(embed)]
    if _hash(signed) != claims.sha256:
        raise SignatureProblem("tampered", "it is not what was signed")
    if now > claims.exp:
        raise SignatureProblem("expired", f"its signature expired {now - claims.exp:.0f} s ago")
    if claims.exp - claims.iat > STEP_S + _LATE_S + _AHEAD_S:
        # Longer than that nobody remembers which ids were used.
        raise SignatureProblem("malformed", f"its signature is for longer than {(STEP_S + _LATE_S) / 3600:.0f} hours")
    if claims.iat > now + _AHEAD_S:
        raise SignatureProblem("early", f"its signature is of a time {claims.iat - now:.0f} s ahead")
    return claims


def canonical(value: Any) -> bytes:
    """JSON in one form: keys sorted, no spaces, UTF-8 unescaped.

    That of RFC 8785, but for numbers, which are written as Python does: `1e-07` and `10.0`.

    Raises:
        SignatureProblem: it is nested too deep, or has keys or values that are not JSON.
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise SignatureProblem("malformed", f"it cannot be read ({type(error).__name__})") from None
    return text.encode("utf-8", "surrogatepass")


def _hash(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def _signed(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments without the signature, and without what is written when a step is enqueued."""
    left_out = (SIGNATURE, "sent_at") if kwargs.get("deadline_s") is not None else (SIGNATURE,)
    return {name: value for name, value in kwargs.items() if name not in left_out}


def _wired(embed: Mapping[str, Any]) -> dict[str, Any]:
    """Callbacks, error callbacks, the rest of the chain and the chord, as far as there are any."""
    return {name: value for name, value in embed.items() if value}


def _sign(key: SigningKey, claims: Claims) -> str:
    from joserfc import jws

    header = {"alg": key.algorithm, "typ": _TYPE}
    return jws.serialize_compact(header, msgspec.json.encode(claims), key.key, algorithms=[key.algorithm])


def _open(text: str, keys: Sequence[SigningKey]) -> Claims:
    from joserfc import jws
    from joserfc.errors import JoseError

    for key in keys:
        try:
            # The key says which algorithm: one that a message names must be the same, or is refused.
            opened = jws.deserialize_compact(text, key.key, algorithms=[key.algorithm])
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if opened.headers().get("typ") != _TYPE:
            raise SignatureProblem("malformed", "its signature is of something else than a call")
        try:
            return _claims.decode(opened.payload)
        except (msgspec.DecodeError, UnicodeError):
            raise SignatureProblem("malformed", "its signature's claims cannot be read") from None
    raise SignatureProblem("forged", "none of its caller's keys made its signature")
