"""Messages straight onto the broker: other serializers, whose decoding would run code, and what is no message."""

import base64
import bz2
import json
import lzma
import os
import pickle
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.hostile.case import Message, rest
from tests.servers.compressed import compressed_zeros

_MIB = 384
_BYTES = {"properties": {"body_encoding": "base64"}}


RUN = 'touch "$HOSTILE_MARKER"'


class _Bomb:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (RUN,)


def pickles() -> dict[str, bytes]:
    bodies = {f"pickle, protocol {number}": pickle.dumps([[], {"x": _Bomb()}, {}], number) for number in (2, 4, 5)}
    return bodies | {
        "pickle, protocol 0": pickle.dumps(_Bomb(), 0),
        "pickle of a call": pickle.dumps([[_Bomb()], {}, {}]),
    }


def _packed(make: Callable[[], bytes]) -> str:
    return _base64(make())


def _base64(body: bytes) -> str:
    return base64.b64encode(body).decode()


_PICKLED = [
    Message(
        family="messages",
        name=f"{name} as {content_type}",
        body=_base64(body),
        envelope=_BYTES | {"content-type": content_type, "content-encoding": "binary"},
    )
    for name, body in pickles().items()
    for content_type in ("application/x-python-serialize", "pickle", "application/data", "application/json", "")
]
_YAML = [
    f"!!python/object/apply:os.system ['{RUN}']",
    f"!!python/object/new:os.system ['{RUN}']",
    f"- !!python/object/apply:subprocess.getoutput ['{RUN}']",
    "a: &a [*a, *a]",
]
_GOOD = [[], {"version": 1, "call": rest()}, {}]
#: What kombu's JSON would make something else of.
_TAGS = ["datetime", "uuid", "decimal", "bytes", "date", "time", "os.system", "__import__"]
_SHAPES: dict[str, str] = {
    "no JSON": "{{{",
    "empty": "",
    "null": "null",
    "a number": "7",
    "text": '"x"',
    "an object": '{"call": 1}',
    "two parts": "[[], {}]",
    "four parts": "[[], {}, {}, {}]",
    "args are an object": "[{}, {}, {}]",
    "kwargs are a list": "[[], [], {}]",
    "kwargs are null": "[[], null, {}]",
    "embed is text": '[[], {}, "x"]',
    "chain is a number": '[[], {}, {"chain": 7}]',
    "callbacks are no signatures": '[[], {}, {"callbacks": ["x"]}]',
    "errbacks have no task": '[[], {}, {"errbacks": [{}]}]',
    "lists without end": "[" * 100_000,
    "objects without end": '{"a":' * 100_000,
    "nested 5,000 deep": "[[], {}, " + "[" * 5000 + "]" * 5000 + "]",
    "a number without end": "9" * 100_000,
    "infinite": '[[], {"version": 1e999}, {}]',
    "a name twice": '[[], {"version": 1, "version": 2, "call": {}, "call": 7}, {}]',
    "not UTF-8": "\udcff\udcfe",
}
_HEADERS: dict[str, dict[str, Any]] = {
    "eta is no time": {"eta": "tomorrow"},
    "eta is a number": {"eta": 12345},
    "expires is an object": {"expires": {}},
    "timelimit is text": {"timelimit": "soon"},
    "stamps are a list": {"stamps": [], "stamped_headers": ["a"]},
    "retries are text": {"retries": "many"},
    "root_id is an object": {"root_id": {}},
    "unknown compression": {"compression": "application/x-klingon"},
}
_BOMBS = {
    "application/x-gzip": lambda: compressed_zeros("deflate", _MIB),
    "application/x-brotli": lambda: compressed_zeros("br", _MIB),
    "application/zstd": lambda: compressed_zeros("zstd", _MIB),
    "application/x-bz2": lambda: bz2.compress(bytes(1 << 20)) * _MIB,
    "application/x-lzma": lambda: lzma.compress(bytes(_MIB << 20), preset=0),
}

CASES = [
    *_PICKLED,
    *(
        Message(family="messages", name=f"YAML {text[:40]}", body=text, envelope={"content-type": content_type})
        for text in _YAML
        for content_type in ("application/x-yaml", "yaml")
    ),
    Message(
        family="messages",
        name="msgpack",
        body=_base64(b"\x93\x90\x80\x80"),
        envelope=_BYTES | {"content-type": "application/x-msgpack", "content-encoding": "binary"},
    ),
    *(
        Message(
            family="messages", name=f"content type {name!r}", body=json.dumps(_GOOD), envelope={"content-type": name}
        )
        for name in ("text/plain", "application/klingon", "application/json; x", "\r\n", "application/x-dill")
    ),
    *(
        Message(
            family="messages",
            name=f"tagged {tag}",
            body=json.dumps([[], {"version": 1, "call": {"__type__": tag, "__value__": RUN}}, {}]),
        )
        for tag in _TAGS
    ),
    *(Message(family="messages", name=name, body=body) for name, body in _SHAPES.items()),
    *(Message(family="messages", name=name, body=json.dumps(_GOOD), headers=more) for name, more in _HEADERS.items()),
    *(
        Message(
            family="messages",
            name=f"bomb {name}",
            body=partial(_packed, make),
            headers={"compression": name},
            envelope=_BYTES,
        )
        for name, make in _BOMBS.items()
    ),
    Message(
        family="messages",
        name="packed garbage",
        body=_base64(zlib.compress(b"x" * 1000)[:-9]),
        headers={"compression": "gzip"},
        envelope=_BYTES,
    ),
]
