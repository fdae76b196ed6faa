"""What is in a dead letter's message, which a worker packed as `workers.parked_message` says."""

from collections.abc import Mapping
from typing import Any

import msgspec
from kombu.serialization import loads

from gateway.codec import decode
from gateway.dead_letter import DeadLetter
from gateway.envelope import Envelope
from gateway.errors import InvalidCallError

__all__ = ["envelope_of", "later_steps"]


def later_steps(letter: DeadLetter) -> int:
    """How many steps of a chain, chord or link were to follow the call; a replay does not enqueue them."""
    try:
        _, _, embed = _body(letter)
    except InvalidCallError:
        return 0
    if not isinstance(embed, Mapping):
        return 0
    lists = (embed.get("callbacks"), embed.get("chain"))
    return sum(len(steps) for steps in lists if isinstance(steps, list)) + (embed.get("chord") is not None)


def _body(letter: DeadLetter) -> tuple[Any, Any, Any]:
    """Args, kwargs and the rest of the message's body.

    Raises:
        InvalidCallError: it cannot be read; `message` says why.
    """
    if not letter.has_message:
        raise InvalidCallError("its message was not kept: it is too large, or no text")
    try:
        packed = msgspec.json.decode(letter.message)
        properties = packed["properties"]
        args, kwargs, embed = loads(
            packed["body"], properties["content_type"], properties["content_encoding"], accept={"application/json"}
        )
    except Exception as error:  # whatever a producer wrote
        raise InvalidCallError(f"its message cannot be read ({type(error).__name__})") from None
    return args, kwargs, embed


def envelope_of(letter: DeadLetter) -> Envelope:
    """The call that died, with what an earlier step of its chain had put into it.

    Raises:
        InvalidCallError: the message was not kept, or is no call; says so without anything of what is in it.
    """
    args, kwargs, _ = _body(letter)
    try:
        if isinstance(args, list | tuple) and isinstance(kwargs, dict):
            return decode(args, kwargs)
    except InvalidCallError as error:
        # Not what it says: that has values in it.
        raise InvalidCallError(f"its message is not a call: {error.field or 'it'} is not valid") from None
    raise InvalidCallError("its message is not a call: args and kwargs are not a list and an object")
