"""Compressed messages, unpacked within a bound.

Kombu unpacks a message while it takes it from the broker, before anybody sees what it is: a few kilobytes may become
more memory than the machine has, in one worker after the other.
"""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli
from kombu import compression

from gateway.call_size import MAX_MESSAGE_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["PackedTooLargeError", "bound_unpacking"]

#: Of the format's own tables, which a header may ask for.
_LZMA_MEMORY = 128 * 1024 * 1024
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}


class PackedTooLargeError(ValueError):
    """A message is not complete, or unpacks to more than `MAX_MESSAGE_BYTES`."""


def bound_unpacking() -> None:
    """Let kombu's decoders stop at `MAX_MESSAGE_BYTES`, in this process."""
    registry: Any = compression  # its annotations are wrong
    for name, decode in _DECODERS.items():
        encode, content_type = registry.get_encoder(name)
        registry.register(encode, decode, content_type, aliases=[name])


def _bounded(make: Callable[[], Any]) -> Callable[[bytes], bytes]:
    def decode(data: bytes) -> bytes:
        stream = make()
        unpacked: bytes = stream.decompress(data, MAX_MESSAGE_BYTES)
        if not stream.eof:
            raise PackedTooLargeError
        return unpacked

    return decode


def _brotli(data: bytes) -> bytes:
    stream = brotli.Decompressor()
    unpacked = b""
    while not stream.is_finished() and len(unpacked) <= MAX_MESSAGE_BYTES:
        piece = stream.process(data, output_buffer_limit=MAX_MESSAGE_BYTES - len(unpacked) + 1)
        unpacked += piece
        if not data and not piece:
            break
        data = b""
    if not stream.is_finished() or len(unpacked) > MAX_MESSAGE_BYTES:
        raise PackedTooLargeError
    return unpacked


#: Kombu's name → decoder.
_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": _bounded(zlib.decompressobj),
    "bzip2": _bounded(bz2.BZ2Decompressor),
    "lzma": _bounded(lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)),
    "zstd": _bounded(lambda: zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)),
    "brotli": _brotli,
}
