"""Content codings (RFC 9110, section 8.4): a body as it arrives → what it stands for, within a bound.

Every step gives out pieces of at most 64 KiB and counts them, so that a body which unpacks to a gigabyte costs the
bound and one piece, not the gigabyte. A body that ends early, or goes on after its end, is an error: a service that
was cut off must not look like one that answered.
"""

import sys
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["ACCEPT_ENCODING", "BodyDecoder", "BodyTooLargeError", "DecodingError"]

#: What a request says that it accepts.
ACCEPT_ENCODING = "gzip, deflate, br, zstd"

_PIECE = 64 * 1024
#: Streams in one body. Each costs a copy of what follows it, so thousands of empty ones would keep the loop busy.
_MAX_MEMBERS = 1000
#: Codings on top of each other; more is nobody's honest answer.
_MAX_STACKED = 3
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: RFC 9659: a decoder of the `zstd` coding needs no window of more than 8 MiB.
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}


class DecodingError(ValueError):
    """The body is not what its `content-encoding` says."""


class BodyTooLargeError(DecodingError):
    """The body, decoded or as it came, is larger than the bound."""


class _Step(Protocol):
    """One coding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks to, in pieces."""
        ...

    def finish(self) -> Iterator[bytes]:
        """What is left when nothing more comes.

        Raises:
            DecodingError: the stream is not complete.
        """
        ...


class _Members:
    """Gzip and zstd: streams one after the other, each with an end of its own (RFC 1952, 2.2; RFC 8878, 3.1)."""

    def __init__(self, name: str, magic: bytes) -> None:
        self._name = name
        self._magic = magic
        self._stream: Any = None
        self._head = b""
        self._members = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream is None:
                data, self._head = self._head + data, b""
                if len(data) < len(self._magic) and self._magic.startswith(data):
                    self._head = data
                    return
                if not data.startswith(self._magic):
                    what = "goes on after its end" if self._members else f"is not {self._name}"
                    raise DecodingError(f"the body {what}")
                self._members += 1
                if self._members > _MAX_MEMBERS:
                    raise DecodingError(f"the body has more than {_MAX_MEMBERS} {self._name} streams")
                self._stream = self._new()
            pieces = self._gzip(data) if self._magic == _GZIP_MAGIC else self._zstd(data)
            yield from pieces
            if not self._stream.eof:
                return
            data, self._stream = self._stream.unused_data, None

    def _new(self) -> Any:
        if self._magic == _GZIP_MAGIC:
            return zlib.decompressobj(_GZIP)
        return zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)

    def _gzip(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._stream.decompress(data, _PIECE)
            if piece:
                yield piece
            data = self._stream.unconsumed_tail
            if self._stream.eof or (not data and len(piece) < _PIECE):
                return

    def _zstd(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._stream.decompress(data, _PIECE)
            if piece:
                yield piece
            data = b""
            if self._stream.eof or self._stream.needs_input:
                return

    def finish(self) -> Iterator[bytes]:
        if self._stream is not None or self._head:
            raise DecodingError(f"the {self._name} body ends early")
        yield from ()


class _Deflate:
    """Zlib's format (RFC 1950), or bare deflate (RFC 1951) as some servers send it by the same name."""

    def __init__(self) -> None:
        self._stream: Any = None
        self._head = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self._head += data
            if len(self._head) < 2:
                return
            data, self._head = self._head, b""
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if _has_zlib_header(data) else -zlib.MAX_WBITS)
        elif self._stream.eof:
            raise DecodingError("the body goes on after its end")
        while True:
            piece = self._stream.decompress(data, _PIECE)
            if piece:
                yield piece
            data = self._stream.unconsumed_tail
            if self._stream.eof or (not data and len(piece) < _PIECE):
                break
        if self._stream.unused_data:
            raise DecodingError("the body goes on after its end")

    def finish(self) -> Iterator[bytes]:
        if self._head or (self._stream is not None and not self._stream.eof):
            raise DecodingError("the deflate body ends early")
        yield from ()


class _Brotli:
    """Brotli (RFC 7932). Its decoder refuses what comes after the end by itself."""

    def __init__(self) -> None:
        self._stream: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self._stream = brotli.Decompressor()
        elif self._stream.is_finished():
            raise DecodingError("the body goes on after its end")
        while True:
            piece = self._stream.process(data, output_buffer_limit=_PIECE)
            if piece:
                yield piece
            data = b""
            if not piece or self._stream.is_finished():
                return

    def finish(self) -> Iterator[bytes]:
        if self._stream is not None and not self._stream.is_finished():
            raise DecodingError("the br body ends early")
        yield from ()


def _has_zlib_header(data: bytes) -> bool:
    return data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def _step(coding: str) -> _Step:
    match coding:
        case "gzip" | "x-gzip":
            return _Members("gzip", _GZIP_MAGIC)
        case "deflate":
            return _Deflate()
        case "br":
            return _Brotli()
        case "zstd":
            return _Members("zstd", _ZSTD_MAGIC)
    raise DecodingError(f"the content coding {coding[:40]!r} is unknown; accepted are {ACCEPT_ENCODING}")


class BodyDecoder:
    """Collects one body.

    Args:
        content_encoding: the header's value; empty for none.
        max_length: bytes of the decoded body at most. What is between two codings, and what comes in, may be one
            piece longer than that.

    Raises:
        DecodingError: a coding is unknown, or there are more than three.
    """

    def __init__(self, content_encoding: str, max_length: int) -> None:
        codings = [coding.strip().lower() for coding in content_encoding.split(",")] if content_encoding else []
        codings = [coding for coding in codings if coding not in ("", "identity")]
        if len(codings) > _MAX_STACKED:
            raise DecodingError(f"{len(codings)} content codings on top of each other; {_MAX_STACKED} are accepted")
        self._steps = [_step(coding) for coding in reversed(codings)]
        self._max_length = max_length
        self._passed = [0] * len(self._steps)
        self._pieces: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they came.

        Raises:
            BodyTooLargeError: the bound is passed.
            DecodingError: they are not what the header says.
        """
        try:
            if self._steps:
                for start in range(0, len(data), _PIECE):
                    self._push(0, data[start : start + _PIECE])
            else:
                self._push(0, data)
        except (zlib.error, brotli.error, zstd.ZstdError) as error:
            raise DecodingError(f"the body cannot be decoded: {error}") from error

    def finish(self) -> bytes:
        """The whole body, decoded.

        Raises:
            DecodingError: it is not complete.
        """
        for depth, step in enumerate(self._steps):
            for piece in step.finish():
                self._push(depth + 1, piece)
        return self.so_far()

    def so_far(self) -> bytes:
        """What is decoded up to now, at most the bound."""
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def _push(self, depth: int, data: bytes) -> None:
        if depth == len(self._steps):
            room = self._max_length - self._length
            if len(data) > room:
                self._pieces.append(data[:room])
                self._length = self._max_length
                raise BodyTooLargeError(f"the body is larger than {self._max_length} bytes")
            self._pieces.append(data)
            self._length += len(data)
            return
        # Empty members and blocks unpack to nothing: without this bound they would keep the decoder busy for ever.
        self._passed[depth] += len(data)
        if self._passed[depth] > self._max_length + _PIECE:
            raise BodyTooLargeError(f"the body is larger than {self._max_length} bytes, still encoded")
        for piece in self._steps[depth].feed(data):
            self._push(depth + 1, piece)
