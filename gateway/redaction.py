"""What this process knows as secret, and the one place where it is taken out of whatever leaves the process.

Secrets are never put into a message, a result or a log line on purpose. But a service may say back what it was sent,
and a library may log what it sends. So each secret is registered where it is revealed, and `SECRETS` stands before
outcomes (`clean`) and log lines (`RedactingFormatter`).
"""

import json
import logging
import re
import threading
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.secret_pattern import SHORTEST, SecretPattern

__all__ = ["REDACTED", "SECRETS", "SHORTEST", "RedactingFormatter", "Redactor"]

#: What stands in the place of a secret.
REDACTED = "[redacted]"
#: Of those that do not last, the latest: tokens that are fetched anew each hour do not pile up.
_MOST = 500
#: Bytes of a text that is looked over once before fragments of secrets are looked for.
_SMALL = 4096
_RUNS = re.compile(rb"[A-Za-z0-9_.-]+")
#: Headers whose values are credentials, whoever sends them.
_HEADERS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "x-service-auth",
        "x-api-key",
        "api-key",
        "x-auth-token",
        "cookie",
        "set-cookie",
        "webhook-signature",
    }
)
#: The same, as they stand in log lines: a name, what separates it from its value, and the value, which may be gone
#: already. Text that was quoted once more has backslashes before its quotes.
_NAMED = re.compile(
    rf"""(?i)(\b(?:{"|".join(map(re.escape, sorted(_HEADERS)))})\b\\*["']?\s*[:=,]\s*(?:b(?=["']))?\\*["']?)"""
    r"""(?:(?:Bearer|Basic|Digest|Token)\s+)?(?:\[redacted\]|[^\s"',;)}\]]{3,})(?:\[redacted\]|[^\s"',;)}\]])*"""
)


@dataclass(slots=True)
class _Known:
    """A secret; `sent`: to services, `lasting`: for as long as the process."""

    pattern: SecretPattern
    sent: bool
    lasting: bool


class Redactor:
    """Knows secrets by their values. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        #: Longest first: one that contains another goes before it.
        self._all: tuple[SecretPattern, ...] = ()
        self._sent: tuple[SecretPattern, ...] = ()
        #: Of those that services are sent: what is looked for before anything else, shortest first.
        self._telling: tuple[bytes, ...] = ()

    def register(self, value: str, *, sent: bool = True, lasting: bool = True) -> bool:
        """Take a secret for one from now on; False: it has less than `SHORTEST` characters.

        Args:
            value: the secret.
            sent: to services, which may say it back. Others are taken out of lines alone: where a service says the
                word that is the broker's password, it means something else.
            lasting: it is never forgotten; of others the latest 500 are known.
        """
        if len(value) < SHORTEST:
            return False
        with self._lock:
            known = self._known.pop(value, None) or _Known(SecretPattern(value), sent=False, lasting=False)
            known.sent, known.lasting = known.sent or sent, known.lasting or lasting
            # Those that were registered last are at the end.
            self._known[value] = known
            passing = [] if known.lasting else [name for name, each in self._known.items() if not each.lasting]
            for name in passing[: max(0, len(passing) - _MOST)]:
                del self._known[name]
            self._order()
        return True

    def retire(self, value: str) -> None:
        """Another secret took its place: it need not be known for ever."""
        with self._lock:
            if value in self._known:
                self._known[value].lasting = False

    def register_key(self, text: str) -> None:
        """A private key, which nobody is sent: the lines of a PEM, or the whole."""
        for line in text.replace("\\n", "\n").splitlines():
            if not line.startswith("-----"):
                self.register(line.strip(), sent=False)

    def line(self, text: str) -> str:
        """A log line without secrets, and without the values of headers that carry them."""
        return _NAMED.sub(rf"\g<1>{REDACTED}", _without(text, self._all))

    def fields(self, value: Any) -> Any:
        """What is logged as JSON, without what `line` takes out of text; all that JSON has no form for becomes text.

        The encoded form is no place to do that in: a text may end in a header's name, or have a quote in its value.

        Raises:
            RecursionError: it is nested too deep.
        """
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            named = [(self.line(_text(name)), item) for name, item in value.items()]
            return {name: REDACTED if name.lower() in _HEADERS else self.fields(item) for name, item in named}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.fields(item) for item in value]
        return self.line(_text(value))

    def clean(self, value: Any, more: Iterable[str] = ()) -> Any:
        """A JSON value without secrets: the same object, if it has none. Never raises.

        That is found by a search of its encoded form, which takes microseconds; it is only taken apart if there is one.
        What cannot be searched, such as what is nested too deep, is left out as a whole.
        """
        secrets, telling = self._sent, self._telling
        if more:
            own = [SecretPattern(secret) for secret in more if len(secret) >= SHORTEST]
            secrets = (*own, *secrets)
            telling = _by_length((*(fragment for each in own for fragment in each.encoded), *telling))
        if not secrets or value is None:
            return value
        try:
            encoded = _encode(value)
            if len(encoded) <= _SMALL:
                # A fragment is no longer than the run that it is a part of: most need not be looked for.
                longest = max(map(len, _RUNS.findall(encoded)), default=0)
                telling = telling[: bisect_right(telling, longest, key=len)]
            for fragment in telling:
                if fragment in encoded:
                    break
            else:
                return value
            cleaned, is_clean = _cleaned(value, secrets)
        except (RecursionError, MemoryError):
            return REDACTED
        return value if is_clean else cleaned

    def reply(self, data: Any, headers: Mapping[str, str], more: Iterable[str] = ()) -> tuple[Any, Mapping[str, str]]:
        """What a service answered, and its headers, without secrets; see `clean`.

        The values of headers that carry credentials are left out by their names.
        """
        whole = self.clean((data, headers), more)
        data, headers = whole if whole is not REDACTED else (REDACTED, self.clean(headers, more))
        if not _HEADERS.isdisjoint(headers):
            headers = {name: REDACTED if name in _HEADERS else value for name, value in headers.items()}
        return data, headers

    def _order(self) -> None:
        ordered = sorted(self._known, key=len, reverse=True)
        self._all = tuple(self._known[name].pattern for name in ordered)
        self._sent = tuple(self._known[name].pattern for name in ordered if self._known[name].sent)
        self._telling = _by_length(fragment for each in self._sent for fragment in each.encoded)

    def __repr__(self) -> str:
        return f"<Redactor {len(self._known)} secrets>"


class RedactingFormatter(logging.Formatter):
    """Formats as another formatter does, and takes secrets out of the whole: message, arguments and traceback.

    Args:
        inner: makes the line.
        redactor: knows the secrets.
    """

    def __init__(self, inner: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._inner = inner
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The line. One that cannot be made is told of: logging itself would print its arguments as they are."""
        try:
            line = self._inner.format(record)
        except Exception as error:  # of whatever was given to log
            line = (
                f"{record.levelname} {record.name} a line from {record.pathname}:{record.lineno} cannot be formatted"
                f" ({type(error).__name__}): {record.msg!r:.300}"
            )
        return self._redactor.line(line)


_encoder = msgspec.json.Encoder(enc_hook=repr)
#: Of this process.
SECRETS = Redactor()


def _text(value: object) -> str:
    """As UTF-8 can have it."""
    text = value if isinstance(value, str) else repr(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _by_length(fragments: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(set(fragments), key=len))


def _without(text: str, secrets: Sequence[SecretPattern]) -> str:
    for secret in secrets:
        for fragment in secret.fragments:
            if fragment in text:
                text = secret.replace(text, REDACTED)
                break
    return text


def _cleaned(value: Any, secrets: Sequence[SecretPattern]) -> tuple[Any, bool]:
    """The value without secrets, and whether it had none."""
    if isinstance(value, str):
        text = _without(value, secrets)
        return text, text == value
    if isinstance(value, bytes):
        octets = _without(value.decode("latin-1"), secrets).encode("latin-1")
        return octets, octets == value
    if isinstance(value, Mapping):
        pairs = [(_cleaned(name, secrets), _cleaned(item, secrets)) for name, item in value.items()]
        is_clean = all(name and item for (_, name), (_, item) in pairs)
        return {name: item for (name, _), (item, _) in pairs}, is_clean
    if isinstance(value, list):
        items = [_cleaned(item, secrets) for item in value]
        return [item for item, _ in items], all(is_clean for _, is_clean in items)
    if isinstance(value, tuple):
        items = [_cleaned(item, secrets) for item in value]
        return tuple(item for item, _ in items), all(is_clean for _, is_clean in items)
    if value is None or isinstance(value, bool):
        return value, True
    text = _without(said := repr(value), secrets)
    if isinstance(value, int | float):
        # A secret may be digits alone; a number that has them among others is another one.
        return (text, False) if text == REDACTED else (value, True)
    return (value, True) if text == said else (text, False)


def _encode(value: Any) -> bytes:
    """Something in which every secret of the value is found; bytes as they are, beside the rest."""
    if type(value) is tuple and value and isinstance(value[0], bytes):
        return value[0] + b"\n" + _encode(value[1:])
    if isinstance(value, bytes):
        return value
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError):  # integers of more than 64 bits, lone surrogates, odd keys
        pass
    try:
        return json.dumps(value, ensure_ascii=False, default=repr).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, OverflowError):
        return repr(value).encode("utf-8", "surrogatepass")
