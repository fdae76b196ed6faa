"""Content codings: what comes out, what is refused, and what it costs."""

import gzip
import tracemalloc
import zlib

import brotli
import pytest
from backports import zstd

from tests.servers.compressed import compressed_zeros
from workers.transports.decoding import BodyDecoder, BodyTooLargeError, DecodingError

TEXT = b"The quick brown fox. " * 20_000
PACK = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def decode(coding: str, data: bytes, *, chunk: int = 1000, limit: int = 10_000_000) -> bytes:
    decoder = BodyDecoder(coding, limit)
    for start in range(0, len(data), chunk):
        decoder.feed(data[start : start + chunk])
    return decoder.finish()


@pytest.mark.parametrize("chunk", [1, 2, 1000, 10_000_000])
@pytest.mark.parametrize("coding", list(PACK))
def test_every_coding_in_chunks_of_any_size(coding: str, chunk: int) -> None:
    assert decode(coding, PACK[coding](TEXT), chunk=chunk) == TEXT


@pytest.mark.parametrize("chunk", [1, 1000])
def test_deflate_without_zlib_header(chunk: int) -> None:
    assert decode("deflate", raw_deflate(TEXT), chunk=chunk) == TEXT


@pytest.mark.parametrize("coding", ["", "identity", "Identity, ", "GZIP", " gzip , identity"])
def test_names_are_not_case_sensitive_and_identity_is_nothing(coding: str) -> None:
    body = gzip.compress(TEXT) if "gzip" in coding.lower() else TEXT
    assert decode(coding, body) == TEXT


def test_codings_are_undone_from_the_last() -> None:
    assert decode("gzip, br, zstd", zstd.compress(brotli.compress(gzip.compress(TEXT)))) == TEXT


@pytest.mark.parametrize("coding", ["rot13", "gzip, compress", "aes128gcm"])
def test_an_unknown_coding_is_refused(coding: str) -> None:
    with pytest.raises(DecodingError, match="unknown; accepted are gzip, deflate, br, zstd"):
        BodyDecoder(coding, 100)


def test_more_than_three_codings_are_refused() -> None:
    with pytest.raises(DecodingError, match="4 content codings"):
        BodyDecoder("gzip, gzip, gzip, gzip", 100)


@pytest.mark.parametrize("chunk", [1, 10_000_000])
@pytest.mark.parametrize("coding", list(PACK))
def test_a_body_that_ends_early_is_refused(coding: str, chunk: int) -> None:
    packed = PACK[coding](TEXT)
    for end in (1, len(packed) // 2, len(packed) - 1):
        with pytest.raises(DecodingError, match="ends early"):
            decode(coding, packed[:end], chunk=chunk)


@pytest.mark.parametrize("chunk", [1, 10_000_000])
@pytest.mark.parametrize("coding", list(PACK))
def test_a_body_that_goes_on_is_refused(coding: str, chunk: int) -> None:
    with pytest.raises(DecodingError):
        decode(coding, PACK[coding](TEXT) + b"junk", chunk=chunk)


@pytest.mark.parametrize("coding", list(PACK))
def test_what_is_not_coded_is_refused(coding: str) -> None:
    with pytest.raises(DecodingError):
        decode(coding, b"<html>" + TEXT)


def test_a_wrong_checksum_is_refused() -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[-6] ^= 1
    with pytest.raises(DecodingError, match="cannot be decoded"):
        decode("gzip", bytes(packed))


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("chunk", [1, 10_000_000])
def test_streams_one_after_the_other(coding: str, chunk: int) -> None:
    assert decode(coding, PACK[coding](b"one ") + PACK[coding](b"two"), chunk=chunk) == b"one two"


def test_thousands_of_empty_streams_are_refused() -> None:
    with pytest.raises(DecodingError, match="more than 1000 gzip streams"):
        decode("gzip", gzip.compress(b"") * 1001)


@pytest.mark.parametrize("coding", list(PACK))
def test_no_bytes_at_all_are_an_empty_body(coding: str) -> None:
    assert decode(coding, b"") == b""


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_the_bound_is_exact(coding: str) -> None:
    packed = PACK[coding](TEXT)
    assert decode(coding, packed, limit=len(TEXT)) == TEXT
    with pytest.raises(BodyTooLargeError):
        decode(coding, packed, limit=len(TEXT) - 1)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_gives_the_bound_and_no_more(coding: str) -> None:
    bomb = compressed_zeros(coding, 64)
    decoder = BodyDecoder(coding, 100_000)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            decoder.feed(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert decoder.so_far() == bytes(100_000)
    assert peak < 2_000_000


def test_a_bomb_between_two_codings_is_refused() -> None:
    # 16 MiB of empty zlib blocks, which themselves unpack to nothing.
    inner = b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * (16 * 1024 * 1024 // 5)
    with pytest.raises(BodyTooLargeError, match="still encoded"):
        decode("deflate, gzip", gzip.compress(inner, 1), limit=100_000)


def test_plain_bodies_are_bounded_too() -> None:
    assert decode("", b"x" * 100, limit=100) == b"x" * 100
    with pytest.raises(BodyTooLargeError):
        decode("", b"x" * 101, limit=100)


def test_a_window_larger_than_the_web_allows_is_refused() -> None:
    large = zstd.ZstdCompressor(
        options={
            zstd.CompressionParameter.window_log: 27,
            zstd.CompressionParameter.content_size_flag: 0,
        }
    )
    packed = large.compress(TEXT) + large.flush()
    with pytest.raises(DecodingError, match="cannot be decoded"):
        decode("zstd", packed)
