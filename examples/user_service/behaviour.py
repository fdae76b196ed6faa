"""Misbehaviour on demand: each request may say how the service shall treat it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["HEADER", "Behaviour", "Behaviours", "InvalidBehaviour", "Misbehaviour"]

#: Name of the HTTP header, and of the gRPC metadata.
HEADER = "x-demo-behaviour"

_GRAMMAR = "use slow=MILLISECONDS, fail, unavailable[=SECONDS], rate-limit[=SECONDS], hang or times=N, joined by ';'"

Failure = Literal["fail", "unavailable", "rate-limit"]


class InvalidBehaviour(ValueError):
    """The request asks for a behaviour that the service does not have."""


class Misbehaviour(Exception):
    """The request asked the service to fail.

    Attributes:
        failure: `fail` (500, INTERNAL), `unavailable` (503, UNAVAILABLE) or `rate-limit` (429, RESOURCE_EXHAUSTED).
        retry_after_s: when to ask again, in whole seconds; None for `fail`.
    """

    def __init__(self, failure: Failure, retry_after_s: int | None) -> None:
        self.failure = failure
        self.retry_after_s = retry_after_s
        super().__init__(f"this request asked for {failure!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a request asks for, such as `slow=200`, `hang` or `slow=20;unavailable=1;times=2`.

    Attributes:
        delay_s: wait as long before anything else.
        hang: never answer.
        failure: fail in this way.
        retry_after_s: sent with `unavailable` and `rate-limit`.
        times: hang or fail only the first so many times that the caller asks, and serve it from then on; None: always.
    """

    delay_s: float = 0.0
    hang: bool = False
    failure: Failure | None = None
    retry_after_s: int | None = None
    times: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Behaviour":
        """Read the header's value.

        Raises:
            InvalidBehaviour: it is not one; says what there is.
        """
        delay_s, hang, times, retry_after_s = 0.0, False, None, None
        failure: Failure | None = None
        for item in text.split(";"):
            name, _, value = item.strip().partition("=")
            number = int(value) if value.isascii() and value.isdigit() and len(value) < 7 else None
            match name:
                case "slow" if number is not None:
                    delay_s = number / 1000
                case "times" if number is not None:
                    times = number
                case "hang" if not value:
                    hang = True
                case "fail" if not value:
                    failure = "fail"
                case "unavailable" | "rate-limit" if number is not None or not value:
                    failure = "unavailable" if name == "unavailable" else "rate-limit"
                    retry_after_s = 1 if number is None else number
                case _:
                    raise InvalidBehaviour(f"{HEADER}: {item.strip()!r} is not a behaviour; {_GRAMMAR}")
        return cls(delay_s=delay_s, hang=hang, failure=failure, retry_after_s=retry_after_s, times=times)


class Behaviours:
    """Does what requests ask for, and counts for `times`."""

    def __init__(self) -> None:
        self._shown: Counter[tuple[str, str]] = Counter()

    async def show(self, text: str | None, *, caller: tuple[str, str], gone: Callable[[], Awaitable[object]]) -> None:
        """Misbehave, or return so that the request can be served.

        Args:
            text: what the request asks for, if it does.
            caller: operation and correlation id, which `times` counts for.
            gone: returns when nobody waits for the answer any more.

        Raises:
            InvalidBehaviour: the text is not a behaviour.
            Misbehaviour: the service is to fail.
        """
        if text is None:
            return
        behaviour = Behaviour.parse(text)
        await asyncio.sleep(behaviour.delay_s)
        if not behaviour.hang and behaviour.failure is None:
            return
        if behaviour.times is not None:
            self._shown[caller] += 1
            if self._shown[caller] > behaviour.times:
                return
        if behaviour.hang:
            await gone()
        if behaviour.failure is not None:
            raise Misbehaviour(behaviour.failure, behaviour.retry_after_s)
