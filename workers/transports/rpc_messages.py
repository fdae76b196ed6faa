"""Calls and replies as protobuf messages and metadata."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError, EncodeError

from gateway.call import GrpcCall
from gateway.errors import Delivery, InvalidCallError, InvalidReplyError
from gateway.outcome import Failure
from gateway.plain_json import MAX_DEPTH
from workers.transports.descriptors import Metadata, Method
from workers.transports.nesting import is_too_deep

__all__ = ["invalid", "invalid_reply", "read_reply", "write_metadata", "write_request"]

_NO_FIELD = re.compile(r'Message type "[^"]*" has no field named "(?P<name>[^"]*)" at "(?P<at>[^"]*)"')
_BAD_FIELD = re.compile(r"Failed to parse (?P<name>\S+) field: (?P<why>.*)", re.DOTALL)
_METADATA_NAME = re.compile(r"[0-9a-z_.-]+")
_METADATA_VALUE = re.compile(r"[\x20-\x7e]*")


def write_request(call: GrpcCall, method: Method) -> bytes | Failure:
    """The call's request, serialized (protobuf JSON mapping).

    Returns:
        An `InvalidCallError` failure naming the field where the JSON does not fit the message.
    """
    message = method.request()
    try:
        json_format.ParseDict(dict(call.request), message, descriptor_pool=method.pool)
        return message.SerializeToString()
    except (json_format.Error, EncodeError, TypeError, ValueError, AttributeError, RecursionError) as error:
        return _bad_request(str(error), method)


def _bad_request(said: str, method: Method) -> Failure:
    names = ", ".join(field.name for field in method.request.DESCRIPTOR.fields) or "no fields"
    cure = f"pass {method.request.DESCRIPTOR.full_name} as JSON; it has {names}"
    unknown = _NO_FIELD.search(said)
    if unknown is not None:
        at = unknown["at"].partition(".")[2]
        field = f"request.{at}.{unknown['name']}" if at else f"request.{unknown['name']}"
        return invalid(field, "there is no such field", cure)
    bad = _BAD_FIELD.match(said)
    if bad is not None:
        return invalid(f"request.{bad['name']}", " ".join(bad["why"].split()), cure)
    return invalid("request", " ".join(said.split()), cure)


def write_metadata(call: GrpcCall, headers: Mapping[str, str]) -> Metadata | Failure:
    """The call's metadata with the gateway's own, which win.

    Returns:
        An `InvalidCallError` failure where a value cannot be sent.
    """
    merged = {**call.metadata, **headers} if call.metadata else headers
    pairs: list[tuple[str, str | bytes]] = []
    for name, value in merged.items():
        if not _METADATA_NAME.fullmatch(name):
            return invalid(f"metadata.{name}", "gRPC does not allow the name", "use a-z, 0-9, '_', '.' and '-'")
        if name.endswith("-bin"):
            decoded = _from_base64(value)
            if decoded is None:
                return invalid(f"metadata.{name}", "the value is not base64", "encode the bytes as base64")
            pairs.append((name, decoded))
        elif _METADATA_VALUE.fullmatch(value):
            pairs.append((name, value))
        else:
            return invalid(f"metadata.{name}", "the value is not printable ASCII", "use a '-bin' name and base64")
    return pairs


def _from_base64(text: str) -> bytes | None:
    try:
        # Padding may be left out (gRPC over HTTP/2, "Binary-Header").
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def read_reply(raw: bytes, method: Method) -> Any:
    """One reply message as JSON: field names as in the `.proto`, fields without a value too, int64 as text.

    Returns:
        An `InvalidReplyError` failure where the bytes are not the message, or cannot be written as JSON, or nest too
        deep as such.
    """
    name = method.reply.DESCRIPTOR.full_name
    try:
        reply = json_format.MessageToDict(
            method.reply.FromString(raw),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            descriptor_pool=method.pool,
        )
    except (DecodeError, json_format.Error, TypeError, ValueError, RecursionError) as error:
        return invalid_reply(f"the reply is not a {name}: {' '.join(str(error).split())}")
    return invalid_reply(f"the reply, a {name}, nests deeper than {MAX_DEPTH} levels") if is_too_deep(reply) else reply


def invalid(field: str, why: str, cure: str) -> Failure:
    """The failure of a call that is wrong itself."""
    return Failure(
        error=InvalidCallError,
        message=f"{field}: {why}; {cure}",
        delivery=Delivery.NOT_SENT,
        extra={"field": field, "cure": cure},
        repeatable=False,
    )


def invalid_reply(why: str) -> Failure:
    """The failure of a call whose answer cannot be used."""
    return Failure(error=InvalidReplyError, message=why, delivery=Delivery.ANSWERED, status="OK")
