"""Valid inputs made wrong: in their bytes, in their JSON (also JSON within strings of JSON), or in one field."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

__all__ = ["MOST_BYTES", "Mutator"]

#: Longer inputs are cut: each must end within its bound on a small machine, too.
MOST_BYTES = 48 * 1024

_DEEP: Any = []
for _ in range(120):
    _DEEP = [_DEEP]

#: What has made programs stumble before.
_HOSTILE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    2**31,
    2**63,
    2**64,
    10**400,
    0.0,
    -0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "\0",
    "\n\x1b[31m",
    "\ud800",
    "\u202e",
    "é" * 200,
    "x" * 2000,
    "[]",
    "{}",
    "null",
    "gzip",
    "application/x-python-serialize",
    "application/x-yaml",
    "application/gzip",
    "base64",
    "utf-16",
    "idna",
    "celery",
    "gateway.call",
    "celery.backend_cleanup",
    "9999-12-31T23:59:59.999999+00:00",
    "0001-01-01T00:00:00-23:59",
    "2024-02-30",
    "1e400",
    "../../etc/passwd",
    "http://[::1",
    "$previous",
    [],
    {},
    [[]],
    [None],
    [[], {}, {}],
    [1, 2, 3, 4],
    {"": ""},
    {"__type__": "datetime", "__value__": "never"},
    {"__type__": "uuid", "__value__": {"hex": 7}},
    {"__type__": "decimal", "__value__": []},
    {"__type__": [], "__value__": 1},
    {"$previous": "a.b"},
    {"task": "gateway.call"},
    _DEEP,
)
_PIECES: tuple[bytes, ...] = (
    b"\0",
    b"\xff",
    b"\xc3",
    b'"',
    b"\\",
    b"\\u",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n\n",
    b"1e999",
)
_PIECES += (b"NaN", b"-", b"null", b"\xef\xbb\xbf", b"[" * 200, b'{"a":' * 200, b"9" * 5000, b"\x80" * 12, b"\x0a\x7f")


class Mutator:
    """The same seed gives the same inputs.

    Args:
        seed: of all that is random.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def mutate(self, seeds: Sequence[bytes]) -> bytes:
        """One input."""
        random = self.random
        raw = random.choice(seeds)
        if random.random() < 0.6:
            raw = self._in_json(raw)
        # Some stay as they are, so that what is valid is met as well.
        for _ in range(random.choice((0, 0, 0, 1, 1, 2, 5))):
            raw = self._in_bytes(raw, seeds)
        return raw[:MOST_BYTES]

    def _in_json(self, raw: bytes) -> bytes:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            return raw
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            value = self._change(value)
        try:
            return json.dumps(value).encode("utf-8", "surrogatepass")
        except RecursionError:
            return raw

    def _change(self, value: Any) -> Any:
        """One place in a tree, as likely near the root as in the leaves."""
        random = self.random
        if isinstance(value, str) and value[:1] in ("[", "{") and random.random() < 0.9:
            try:
                inner = json.loads(value)
            except (ValueError, RecursionError):
                return random.choice(_HOSTILE)
            return json.dumps(self._change(inner))
        if not isinstance(value, dict | list) or not value or random.random() < 0.08:
            return random.choice(_HOSTILE)
        copy: Any = value.copy()
        places: list[Any] = list(copy) if isinstance(copy, dict) else list(range(len(copy)))
        place = random.choice(places)
        change = random.random()
        if change < 0.08:
            del copy[place]
        elif change < 0.12 and isinstance(copy, dict):
            copy[random.choice(("", "__type__", "x", "\n", "é" * 50, place * 2))] = copy[place]
        elif change < 0.12:
            copy.append(copy[place])
        elif change < 0.3:
            copy[place] = random.choice(_HOSTILE)
        else:
            copy[place] = self._change(copy[place])
        return copy

    def _in_bytes(self, raw: bytes, seeds: Sequence[bytes]) -> bytes:
        random = self.random
        at = random.randrange(len(raw) + 1)
        to = min(len(raw), at + random.choice((1, 1, 2, 4, 16, 200)))
        changes: tuple[Callable[[], bytes], ...] = (
            lambda: raw[:at] + bytes((random.randrange(256),)) + raw[at + 1 :],
            lambda: raw[:at] + random.choice(_PIECES) + raw[at:],
            lambda: raw[:at] + random.choice(_PIECES) + raw[to:],
            lambda: raw[:at] + raw[to:],
            lambda: raw[:to] + raw[at:],
            lambda: raw[:at],
            lambda: raw[:at] + random.randbytes(random.choice((1, 4, 30))) + raw[to:],
            lambda: raw[:at] + (other := random.choice(seeds))[random.randrange(len(other) + 1) :],
        )
        return random.choice(changes)()
