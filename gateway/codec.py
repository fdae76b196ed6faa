"""The one owner of the message contract: envelope ↔ arguments of the Celery task, and its JSON Schema.

Decoding takes whatever is on the broker. It gives an envelope that is valid in every field, or an `InvalidCallError`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.call_size import MAX_CALL_BYTES, is_larger
from gateway.envelope import VERSION, Envelope
from gateway.errors import InvalidCallError, ServiceError
from gateway.kombu_tag import has_kombu_tag
from gateway.reference import KEY, fill, looks_like_reference, uses_previous

__all__ = ["TASK", "decode", "encode", "json_schema"]

#: Name of the Celery task.
TASK = "gateway.call"


def encode(envelope: Envelope) -> dict[str, Any]:
    """The keyword arguments of the task: plain JSON.

    Raises:
        InvalidCallError: the call is too large; or it has references, and data that would be taken for one.
    """
    if envelope.uses_previous and looks_like_reference(envelope.call):
        raise InvalidCallError.because(
            "call", f"an object in it has the one key {KEY!r}, as references have", "use another key"
        )
    wire: dict[str, Any] = msgspec.to_builtins(envelope)
    if is_larger(wire["call"], MAX_CALL_BYTES):
        raise _too_large("call")
    if has_kombu_tag(wire["call"]):
        wire["call_json"] = json.dumps(wire.pop("call"), allow_nan=False)
    return wire


def decode(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Envelope:
    """The envelope of a task's arguments.

    Args:
        args: empty, or the result of the step before in a chain, a chord or a link.
        kwargs: the envelope's fields.

    Raises:
        InvalidCallError: names the field and the cure.
    """
    fields = dict(kwargs)
    _check_version(fields)
    if "call_json" in fields:
        if is_larger(fields["call_json"], MAX_CALL_BYTES):
            raise _too_large("call_json")
        if "call" in fields:
            raise InvalidCallError.because("call_json", "the message has a call too", "send one of them")
        fields["call"] = _parse(fields.pop("call_json"))
    if "call" not in fields:
        raise InvalidCallError.because("call", "the message has none", "see `gateway schema`")
    if fields.get("uses_previous") is True:
        if not args:
            raise InvalidCallError.because(
                "call", "it refers to the result of a step before, and there is none", "run it in a chain or chord"
            )
        try:
            fields["call"] = fill(fields["call"], args[0])
        except RecursionError:
            raise InvalidCallError.because("call", "it is nested too deep", "send a flatter call") from None
        # The references are resolved: what is left is a call like any other.
        fields["uses_previous"] = False
    if is_larger(fields["call"], MAX_CALL_BYTES):
        raise _too_large("call")
    try:
        envelope = msgspec.convert(fields, Envelope)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ServiceError):
            raise error.__cause__ from None
        why, _, place = str(error).partition(" - at ")
        field = place.strip("`").removeprefix("$").removeprefix(".") or "message"
        raise InvalidCallError.because(field, why[:1].lower() + why[1:], "see `gateway schema`") from None
    except (RecursionError, OverflowError) as error:
        raise InvalidCallError.because(
            "message", f"it cannot be read ({type(error).__name__})", "send a flatter call with ordinary numbers"
        ) from None
    if uses_previous(envelope.call):
        raise InvalidCallError.because(
            "call", "it has a reference, and the message does not say so", "send uses_previous=true"
        )
    return envelope


def _too_large(field: str) -> InvalidCallError:
    return InvalidCallError.because(
        field, f"it is larger than {MAX_CALL_BYTES} bytes", "put the data into a store, and its address into the call"
    )


def _check_version(fields: Mapping[str, Any]) -> None:
    version = fields.get("version")
    if version is None:
        raise InvalidCallError.because(
            "version", "the message has none", f"send version={VERSION}; see `gateway schema`"
        )
    if isinstance(version, bool) or version != VERSION:
        raise InvalidCallError.because(
            "version", f"{version!r:.40} is not known here", f"send version={VERSION}, or deploy newer workers"
        )


def _parse(text: Any) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (TypeError, ValueError, RecursionError):
        raise InvalidCallError.because(
            "call_json", "it is not JSON text", "send the call as JSON, or as `call`"
        ) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the task's keyword arguments."""
    (schema,), definitions = msgspec.json.schema_components([Envelope], ref_template="#/$defs/{name}")
    name = schema["$ref"].rsplit("/", 1)[1]
    envelope = definitions.pop(name)
    envelope["properties"]["call_json"] = {
        "type": "string",
        "description": "The call as JSON text, instead of `call`: for objects with the keys __type__ and __value__.",
    }
    envelope["required"] = ["version"]
    envelope["oneOf"] = [{"required": ["call"]}, {"required": ["call_json"]}]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:call-gateway:message:v{VERSION}",
        "title": f"Keyword arguments of the Celery task {TASK!r}",
        **envelope,
        "$defs": definitions,
    }
