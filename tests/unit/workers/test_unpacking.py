"""Compressed messages: those that fit arrive, and bombs cost no more than the bound."""

import tracemalloc
from typing import Any

import pytest
from kombu import compression
from kombu.message import Message

from gateway.call_size import MAX_MESSAGE_BYTES
from workers.unpacking import PackedTooLargeError, bound_unpacking

NAMES = ("gzip", "bzip2", "lzma", "zstd", "brotli")


def arrived(packed: Any, content_type: str) -> Any:
    """The message as kombu makes it."""
    return Message(packed, headers={"compression": content_type})


@pytest.fixture(autouse=True)
def bounded() -> None:
    bound_unpacking()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 7, 100_000, MAX_MESSAGE_BYTES - 1])
def test_what_fits_is_what_it_was(name: str, size: int) -> None:
    body = b"x" * size
    packed, content_type = compression.compress(body, name)
    message = arrived(packed, content_type)
    assert not message.errors
    assert message.body == body


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_is_refused_at_the_bound(name: str) -> None:
    packed, content_type = compression.compress(bytes(4 * MAX_MESSAGE_BYTES), name)
    tracemalloc.start()
    message = arrived(packed, content_type)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(message.errors[0][1], PackedTooLargeError)
    assert peak < 2.5 * MAX_MESSAGE_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_what_is_cut_off_or_garbage_is_refused(name: str) -> None:
    packed, content_type = compression.compress(b"x" * 100_000, name)
    for broken in (packed[:-3], packed[: len(packed) // 2], b"garbage", b""):
        assert arrived(broken, content_type).errors, broken[:20]
