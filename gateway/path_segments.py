"""Whether a path may be read as another one, by whoever decodes it once more, or otherwise, on its way."""

import re
import unicodedata
from urllib.parse import unquote

from gateway.errors import InvalidCallError

__all__ = ["check_segments"]

#: What a path needs to have for a closer look: a dot segment, or what may hide one, or a control character.
_SUSPICIOUS = re.compile(r"[%;\\\x00-\x1f\x7f]|(?:\A|/)\.\.?(?:/|\Z)")
#: Decodings one after the other: what is encoded more often is no honest path.
_ROUNDS = 6
#: Bytes that are no UTF-8, and that some decoders take for a longer way to write ASCII (RFC 3629, sections 3 and 10).
_OVERLONG = re.compile(r"%(?:c[01]|e0%[89]|f0%8|f[5-9a-f])", re.IGNORECASE)
#: Not of the standard, and read by some servers (`%u002e` is a dot).
_WIDE = re.compile(r"%u([0-9a-f]{4})", re.IGNORECASE)

#: What servers with a "best fit" take for a slash or a backslash.
_SLASHES = str.maketrans(dict.fromkeys("\u2044\u2215\u2216\u29f5\u29f8\ufe68\uff0f\uff3c", "/"))


def check_segments(field: str, path: str) -> None:
    """Refuse what a server or a proxy may resolve to another path (RFC 3986, section 5.2.4).

    Args:
        field: of the call, for the error.
        path: percent-encoded.

    Raises:
        InvalidCallError: names the field and the cure.
    """
    if not _SUSPICIOUS.search(path):
        return
    decoded = path
    for _ in range(_ROUNDS):
        _check(field, decoded)
        further = unquote(_WIDE.sub(lambda match: chr(int(match[1], 16)), decoded))
        if further == decoded:
            return
        decoded = further
    raise InvalidCallError.because(field, f"it is percent-encoded more than {_ROUNDS} times", "encode it once")


def _check(field: str, decoded: str) -> None:
    if _OVERLONG.search(decoded):
        raise InvalidCallError.because(field, "it has bytes that are no UTF-8", "encode its text as UTF-8")
    # Some frameworks normalize, and a full-width dot becomes one.
    forms = (decoded, unicodedata.normalize("NFKC", decoded.translate(_SLASHES)))
    segments = {segment.split(";")[0] for form in forms for segment in form.split("/")}
    if "\\" in decoded or "." in segments or ".." in segments:
        raise InvalidCallError.because(
            field, "it has a '.' or '..' segment or a backslash", "pass the path that is meant"
        )
    if any(unicodedata.category(character) == "Cc" for character in decoded):
        raise InvalidCallError.because(field, "it has a control character", "leave it out")
