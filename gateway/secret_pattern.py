"""How a secret is found in a text, in whatever form it stands there.

Every usual encoding leaves ASCII letters and digits as they are: JSON and Python's `repr` however often they are
nested, percent-encoding (RFC 3986), forms, HTML. So a secret is looked for as its letters and digits, with what each
other character may have become between them. Base64 (RFC 4648, either alphabet) leaves nothing; there the secret has
one of three forms, by where it begins in a group of three bytes.
"""

import re
from base64 import b64encode
from html.entities import codepoint2name

__all__ = ["SHORTEST", "SecretPattern"]

#: A shorter one would be found in ordinary text.
SHORTEST = 6
_LETTERS = re.compile(r"[A-Za-z0-9]+")
#: As most encodings leave them too.
_NEARLY_LETTERS = re.compile(r"[A-Za-z0-9_.-]+")
_SHORT_ESCAPES = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
#: Of base64, as the alphabet for URLs has them.
_IN_URLS = {"+": "-", "/": "_"}


class SecretPattern:
    """Of one secret.

    Args:
        secret: at least `SHORTEST` characters.

    Attributes:
        fragments: one of these is in every text that has the secret; an empty one is in all. ASCII letters, digits,
            `_`, `.` and `-`.
    """

    __slots__ = ("_based", "_pattern", "_secret", "encoded", "fragments")

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._based = _as_base64(secret.encode("utf-8", "surrogatepass"))
        #: Made when it is needed: of the secrets of a single call it hardly ever is.
        self._pattern: re.Pattern[str] | None = None
        self.fragments = (_fragment(secret), *map(_longest_run, self._based))
        self.encoded = tuple(fragment.encode("ascii") for fragment in self.fragments)

    def replace(self, text: str, by: str) -> str:
        """The text with something else in the place of the secret."""
        if self._pattern is None:
            forms = ["".join(map(_written, self._secret)), *("".join(map(_in_base64, form)) for form in self._based)]
            self._pattern = re.compile("|".join(forms))
        return self._pattern.sub(by, text)


def _longest_run(text: str) -> str:
    return max(_LETTERS.findall(text), key=len, default="")


def _fragment(secret: str) -> str:
    letters = _longest_run(secret)
    if len(letters) >= SHORTEST:
        return letters
    return max(_NEARLY_LETTERS.findall(secret), key=len, default="")


def _written(character: str) -> str:
    """A pattern of all that a character may have become."""
    if character.isascii() and character.isalnum():
        return character
    # So many at most, which four strings of JSON within one another need: text that is made of backslashes, as a
    # service may send it, would otherwise be read anew from each of them.
    forms = [r"\\{1,31}" if character == "\\" else r"\\{0,15}" + re.escape(character)]
    utf16 = character.encode("utf-16-be", "surrogatepass")
    units = [utf16[at : at + 2].hex() for at in range(0, len(utf16), 2)]
    forms.append("".join(rf"\\{{1,15}}u(?i:{unit})" for unit in units))
    octets = character.encode("utf-8", "surrogatepass")
    forms.append("".join(rf"%(?:25){{0,4}}(?i:{octet:02x})" for octet in octets))
    number = ord(character)
    if number < 256:
        forms.append(rf"\\{{1,15}}x(?i:{number:02x})")
    entities = [rf"\#0{{0,6}}{number}", rf"\#[xX]0{{0,6}}(?i:{number:x})"]
    if name := {39: "apos"}.get(number) or codepoint2name.get(number):
        entities.append(name)
    # An ampersand is an entity itself, where HTML is in HTML.
    forms.append(rf"&(?:amp;){{0,4}}(?:{'|'.join(entities)});")
    if short := _SHORT_ESCAPES.get(character):
        forms.append(rf"\\{{1,15}}{short}")
    if character == " ":
        forms.append(r"\+")
    return f"(?:{'|'.join(forms)})"


def _in_base64(character: str) -> str:
    return f"(?:{_written(character)}|{_IN_URLS[character]})" if character in _IN_URLS else character


def _as_base64(value: bytes) -> list[str]:
    """What is the same in the base64 of every text that contains it, for each of the three ways it may be aligned."""
    found = []
    for offset in range(3):
        encoded = b64encode(bytes(offset) + value).decode()
        # The first characters depend on what comes before, the last on what comes after.
        first = (0, 2, 3)[offset]
        whole = (offset + len(value)) * 8 // 6
        found.append(encoded[first:whole])
    return [form for form in found if len(form) >= SHORTEST]
