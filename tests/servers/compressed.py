"""Bodies in a content coding, and bombs: zeros that take next to nothing."""

import gzip
import zlib
from collections.abc import Callable

import brotli
from backports import zstd

__all__ = ["PACK", "compressed_zeros"]

_MIB = 1024 * 1024

#: Content coding → what packs a body in it.
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


def compressed_zeros(coding: str, mebibytes: int) -> bytes:
    """Zeros, packed without having them all in memory."""
    block = bytes(_MIB)
    if coding == "br":
        packer = brotli.Compressor(quality=1)
        return b"".join([packer.process(block) for _ in range(mebibytes)] + [packer.finish()])
    if coding == "zstd":
        frames = zstd.ZstdCompressor(level=1)
        return b"".join([frames.compress(block) for _ in range(mebibytes)] + [frames.flush()])
    deflate = zlib.compressobj(1, wbits=31 if coding == "gzip" else 15)
    return b"".join([deflate.compress(block) for _ in range(mebibytes)] + [deflate.flush()])
