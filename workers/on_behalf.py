"""What a producer sealed for the workers: opened for one attempt, and kept nowhere."""

import base64
import binascii
from collections.abc import Mapping, Set

from gateway.errors import CallRejectedError, Delivery
from gateway.outcome import Failure
from gateway.sealing import Unsealer
from workers.execution import Execution

__all__ = ["on_behalf", "parts_of"]

_SHORTEST_PART = 8


def on_behalf(execution: Execution, unsealer: Unsealer, taken: Set[str]) -> Mapping[str, str] | Failure:
    """The headers that are sealed in a call.

    Args:
        execution: the call.
        unsealer: has the keys.
        taken: names of headers that the gateway sets.

    Returns:
        A failure that was not sent if they cannot be had, are for another call, or are in the way of the gateway's own.
    """
    envelope = execution.envelope
    if envelope.sealed is None:
        return {}
    try:
        found = unsealer.open(envelope.sealed, envelope.call, envelope.caller).headers
    except ValueError as problem:
        return _refused(str(problem))
    folded = {name.lower().replace("_", "-") for name in taken}
    if both := sorted(name for name in found if name.lower().replace("_", "-") in folded):
        return _refused(f"sealed.{both[0]} is set by the gateway itself for {execution.service.name}; use another name")
    return found


def parts_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What is secret of sealed headers: their values, and what a service may say of them alone.

    That is the token without its scheme, name and password of basic authentication (RFC 7617), and each cookie's value
    (RFC 6265). Of these only what is long enough to be no ordinary word.
    """
    found = dict.fromkeys(headers.values())
    for name, value in headers.items():
        if name.lower() == "cookie":
            parts = [pair.partition("=")[2].strip().strip('"') for pair in value.split(";")]
        else:
            scheme, _, token = value.strip().partition(" ")
            parts = [token.strip()]
            if scheme.lower() == "basic":
                try:
                    login = base64.b64decode(token, validate=True).decode()
                except (binascii.Error, UnicodeDecodeError):
                    login = ""
                parts += [login, login.partition(":")[2]]
        found.update(dict.fromkeys(part for part in parts if len(part) >= _SHORTEST_PART))
    return tuple(found)


def _refused(why: str) -> Failure:
    return Failure(
        error=CallRejectedError,
        message=f"the call was rejected: {why}",
        delivery=Delivery.NOT_SENT,
        details={"reason": "sealed"},
        repeatable=False,
    )
