"""Answers of a hostile service: bombs, floods, nesting, and redirects to where nobody may be sent."""

import gzip
import json
import zlib
from collections.abc import Callable
from functools import partial

import brotli

from tests.hostile.case import HostileReply
from tests.servers.compressed import PACK, compressed_zeros

_MIB = 1024 * 1024
_JSON = "application/json"


def _reply(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _packed(body: bytes, coding: str, kind: str = _JSON) -> bytes:
    return _reply(body, f"Content-Type: {kind}", f"Content-Encoding: {coding}")


def _bomb(coding: str) -> bytes:
    return _packed(compressed_zeros(coding, 64), coding)


def _redirect(location: str, status: str = "302 Found") -> bytes:
    # As it is: the connection is not for the next request, which may be on its way before its end is seen.
    return _reply(b"", f"Location: {location}", "Connection: close", status=status)


def _nested(levels: int, opening: str, closing: str) -> bytes:
    return (opening * levels + "1" + closing * levels).encode()


_LOCATIONS = [
    "http://127.0.0.1:{elsewhere}/",
    "//127.0.0.1:{elsewhere}/",
    "///127.0.0.1:{elsewhere}/",
    "http:\\\\127.0.0.1:{elsewhere}/",
    "/\\127.0.0.1:{elsewhere}/",
    "http://127.0.0.1:{here}@127.0.0.1:{elsewhere}/",
    "http://127.0.0.1:{elsewhere}#@127.0.0.1:{here}/",
    "http://127.0.0.1:{elsewhere}\\@127.0.0.1:{here}/",
    "http://localhost:{elsewhere}/",
    "http://2130706433:{elsewhere}/",
    "http://[::ffff:127.0.0.1]:{elsewhere}/",
    "http://0x7f.1:{elsewhere}/",
    "https://127.0.0.1:{here}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://metadata.google.internal/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{elsewhere}/_x",
    "http://127.0.0.1:{elsewhere}/\tx",
]

_BOMBS: dict[str, Callable[[], bytes]] = {
    **{f"a {coding} bomb": partial(_bomb, coding) for coding in PACK},
    "gzip in gzip": lambda: _packed(gzip.compress(compressed_zeros("gzip", 256)), "gzip, gzip"),
    "br in gzip": lambda: _packed(gzip.compress(compressed_zeros("br", 256)), "br, gzip"),
    "zstd in zstd": lambda: _packed(PACK["zstd"](compressed_zeros("zstd", 256)), "zstd, zstd"),
    "four codings": lambda: _packed(b"x", "gzip, gzip, gzip, gzip"),
    "an unknown coding": lambda: _packed(b"x", "klingon"),
    "2,000 gzip streams": lambda: _packed(gzip.compress(b"") * 2000, "gzip"),
    "gzip that is cut off": lambda: _packed(gzip.compress(b'{"a": 1}')[:-4], "gzip"),
    "gzip with more after it": lambda: _packed(gzip.compress(b"{}") + b"more", "gzip"),
    "deflate with more after it": lambda: _packed(zlib.compress(b"{}") + b"more", "deflate"),
    "br with more after it": lambda: _packed(brotli.compress(b"{}") + b"more", "br"),
}
_BODIES: dict[str, Callable[[], bytes]] = {
    "9 MiB": lambda: _reply(b" " * (9 * _MIB), f"Content-Type: {_JSON}"),
    "9 MiB announced": lambda: _reply(b"{}", f"Content-Type: {_JSON}", length=9 * _MIB),
    "objects 101 deep": lambda: _reply(_nested(101, '{"a":', "}"), f"Content-Type: {_JSON}"),
    "lists 101 deep": lambda: _reply(_nested(101, "[", "]"), f"Content-Type: {_JSON}"),
    "lists 100,000 deep": lambda: _reply(_nested(100_000, "[", "]"), f"Content-Type: {_JSON}"),
    "NaN": lambda: _reply(b'{"a": NaN}', f"Content-Type: {_JSON}"),
    "a name twice": lambda: _reply(b'{"a": 1, "a": 2}', f"Content-Type: {_JSON}"),
    "a number of 100,000 digits": lambda: _reply(b"9" * 100_000, f"Content-Type: {_JSON}"),
    "half a character": lambda: _reply(json.dumps("\ud800").encode(), f"Content-Type: {_JSON}"),
    "a charset of Python's": lambda: _reply(b"x", "Content-Type: text/plain; charset=unicode_escape"),
}
_HEADS: dict[str, Callable[[], bytes]] = {
    "a header of 9,000 bytes": lambda: _reply(b"{}", "X-A: " + "v" * 9000),
    "200 headers": lambda: _reply(b"{}", *(f"X-{n}: v" for n in range(200))),
    "headers of 200 KiB": lambda: _reply(b"{}", *(f"X-{n}: {'v' * 8000}" for n in range(25))),
    "two lengths": lambda: _reply(b"{}", "Content-Length: 3"),
    "a length and chunks": lambda: _reply(b"0\r\n\r\n", "Transfer-Encoding: chunked"),
    "a length that is none": lambda: b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a status that is none": lambda: b"HTTP/1.1 99999 X\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": lambda: b"SSH-2.0-OpenSSH_9.0\r\n",
    "NUL in a header": lambda: b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a status of 1 MiB": lambda: b"HTTP/1.1 200 " + b"x" * _MIB + b"\r\n\r\n",
}

CASES = [
    *(HostileReply(family="replies", name=name, raw=raw) for name, raw in {**_BOMBS, **_BODIES, **_HEADS}.items()),
    *(
        HostileReply(
            family="replies",
            name=f"redirect to {location!a}, {redirects} allowed",
            raw=partial(_redirect, location),
            redirects=redirects,
        )
        for location in _LOCATIONS
        for redirects in (0, 3)
    ),
    HostileReply(family="replies", name="a redirect to itself", raw=partial(_redirect, "/", "307 X"), redirects=3),
]
