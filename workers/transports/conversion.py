"""Conversions between bytes and data that must not hold up the loop."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["LARGE_BYTES", "convert"]

#: What is larger is converted in a thread. The loop does this many bytes in 5 ms, or 10 ms for protobuf.
LARGE_BYTES = 64 * 1024

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def convert(size: int, conversion: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What the conversion returns or raises.

    A thread takes the interpreter from the loop for 5 ms at a time (`sys.getswitchinterval`) where the conversion
    runs Python code now and then. Who is cancelled meanwhile does not wait for the thread.

    Args:
        size: bytes of what is converted.
    """
    if size > LARGE_BYTES:
        return await asyncio.to_thread(conversion, *args, **kwargs)
    return conversion(*args, **kwargs)
