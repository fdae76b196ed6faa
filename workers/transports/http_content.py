"""The body of a reply as data: JSON, text or bytes, as its content type says."""

import codecs
import json
import re
from typing import Any, Never

import msgspec

from gateway.plain_json import MAX_BITS, MAX_DEPTH
from workers.transports.nesting import is_too_deep

__all__ = ["ContentError", "content_of", "is_json", "media_type", "readable"]

#: In a JSON string, an escape of half a character outside the basic plane; alone it is no Unicode.
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TOO_DEEP = f"the body is JSON nested deeper than {MAX_DEPTH} levels"
#: Codecs of Python's that are no charset of the web's: quadratic in time, or escapes of Python's own.
_NO_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})


class ContentError(ValueError):
    """The body is not what its content type says."""


def media_type(content_type: str) -> str:
    """Type and subtype, in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(media: str) -> bool:
    """Whether a media type is JSON (RFC 8259, RFC 6839)."""
    return media == "application/json" or (media.endswith("+json") and "/" in media)


def content_of(content_type: str, body: bytes) -> Any:
    """The body as data.

    JSON is what RFC 8259 calls so, and strictly: UTF-8, no NaN, no number beyond a double, no name twice in one object
    (every reader would see another value). What a call may not have as JSON, a reply may not have either: integers and
    nesting beyond the bounds of `gateway.plain_json`, half a surrogate pair. An empty body is None whatever its JSON
    type says: it is how many services say 202. A textual type is text in its charset, UTF-8 without one. Anything else
    is bytes; nothing without a type is None.

    Raises:
        ContentError: it is not.
    """
    media = media_type(content_type)
    if is_json(media):
        return parse_json(body) if body else None
    if media.startswith("text/"):
        return _text(content_type, body)
    return body if media or body else None


def readable(content_type: str, body: bytes, *, complete: bool) -> Any:
    """The body of an error reply as well as it can be read; plain JSON, never an error.

    Args:
        content_type: the header.
        body: what there is of it.
        complete: whether that is all.
    """
    if complete:
        try:
            content = content_of(content_type, body)
        except ContentError:
            pass
        else:
            if not isinstance(content, bytes):
                return content
    if not body:
        return None
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        # Cut within a character at the bound; anything earlier is no text.
        return body[: error.start].decode("utf-8") if not complete and error.start >= len(body) - 3 else None


def parse_json(body: bytes) -> Any:
    """Strict JSON, see `content_of`.

    Raises:
        ContentError: it is not.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        value = _JSON.decode(body.decode("utf-8"))
        if _SURROGATE_ESCAPE.search(body):
            msgspec.json.decode(body)  # refuses a half alone, which the standard library lets through
    except RecursionError:
        raise ContentError(_TOO_DEEP) from None
    except (ValueError, msgspec.DecodeError) as error:
        raise ContentError(f"the body is not JSON: {error}") from None
    if is_too_deep(value):
        raise ContentError(_TOO_DEEP)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice[:60]!r} comes twice in one object")
    return value


def _integer(text: str) -> int:
    # Also where the interpreter would let other threads go on: without it, an array of integers parses in one go.
    value = int(text)
    if value.bit_length() > MAX_BITS:
        raise ValueError(f"an integer of {len(text)} digits is out of range")
    return value


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is out of range")
    return value


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is no JSON")


_JSON = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_int=_integer, parse_float=_number, parse_constant=_refuse
)


def _text(content_type: str, body: bytes) -> str:
    charset = _charset(content_type) or "utf-8"
    try:
        if codecs.lookup(charset).name in _NO_CHARSETS:
            raise LookupError
        text = body.decode(charset)
        text.encode()  # UTF-7 can say half a surrogate pair, which nobody after us can write
        return text
    except LookupError:
        raise ContentError(f"the charset {charset[:40]!r} is unknown") from None
    except ValueError as error:
        raise ContentError(f"the body is not {charset[:40]}: {error}") from None


def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"')
    return ""
