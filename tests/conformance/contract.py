"""What every transport must say of what can go wrong, and the executor's part around it: the bound of an attempt."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.call import Call
from gateway.errors import Delivery, ServiceError, ServiceTimeoutError
from gateway.outcome import Failure
from gateway.policy import Timeouts
from workers.transports.base import Answer, Attempt, Transport

__all__ = ["Expected", "attempt_of", "eventually", "send_within"]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A fault, and the failure that it must end in.

    Attributes:
        fault: what the server does, by its own name for it.
        error: the exact class.
        delivery: all values that are true; more than one only where the network decides.
        phase: of a timeout.
        status: of a service that has answered.
        timeouts: of the attempt, where they differ from `attempt_of`'s.
    """

    fault: str
    error: type[ServiceError]
    delivery: tuple[Delivery, ...]
    phase: str | None = None
    status: int | str | None = None
    timeouts: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.fault

    def check(self, outcome: Answer | Failure) -> None:
        """Compare with what the transport said."""
        assert isinstance(outcome, Failure), outcome
        assert outcome.error is self.error, outcome
        assert outcome.delivery in self.delivery, outcome
        assert outcome.extra.get("phase") == self.phase, outcome
        assert outcome.status == self.status, outcome
        assert outcome.message
        outcome.to_error(service="faults", operation="op")  # every field is one that the error has


async def eventually(condition: Callable[[], object], within: float = 5.0) -> None:
    """Wait until a condition holds, for `within` seconds at most."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process or on a socket
            await asyncio.sleep(0.005)


def attempt_of(
    call: Call,
    timeouts: Mapping[str, float] | None = None,
    *,
    request_id: str = "r1",
    headers: Mapping[str, str] | None = None,
    max_reply_bytes: int = 1_000_000,
    max_messages: int = 100,
) -> Attempt:
    """An attempt with short bounds; `timeouts` go over them, and `headers` over the request id's."""
    bounds = {"attempt": 5.0, "connect": 0.4, "pool": 0.4, "total": 10.0, **(timeouts or {})}
    return Attempt(
        call=call,
        number=1,
        headers={"x-request-id": request_id} if headers is None else headers,
        timeouts=Timeouts(**bounds),
        budget_s=bounds["attempt"],
        max_reply_bytes=max_reply_bytes,
        max_messages=max_messages,
    )


async def send_within(transport: Transport, attempt: Attempt) -> Answer | Failure:
    """Send as the executor does: the bound of the whole attempt cancels the transport, and the marks tell the rest."""
    try:
        async with asyncio.timeout(attempt.budget_s):
            return await transport.send(attempt)
    except TimeoutError:
        return Failure(
            error=ServiceTimeoutError,
            message="the attempt took too long",
            delivery=Delivery.NOT_SENT if attempt.wire.sent is None else Delivery.MAYBE_SENT,
            extra={"phase": "attempt"},
        )
