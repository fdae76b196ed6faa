"""One call as it is executed: what the layers see, and the type of a layer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.call import Call
from gateway.envelope import Envelope
from gateway.errors import Delivery
from gateway.outcome import Failure
from gateway.policy import Policy
from gateway.service import Service
from workers.attempt import Answer, Wire
from workers.deadline import Deadline

__all__ = ["Execution", "Layer", "Proceed", "Result"]

#: What comes back through the layers.
Result = Answer | Failure


@dataclass(slots=True, kw_only=True)
class Execution:
    """A call in execution.

    Attributes:
        call_id: the Celery task's id.
        envelope: what the producer sent.
        service, policy: as the catalogue resolves them for this call.
        deadline: of the call.
        correlation_id: as sent, or made here.
        request_id: of the first attempt.
        started: monotonic seconds when the worker took the call.
        attempts: how many requests were started so far.
        wire: the marks of the current attempt.
        result: what the transport said of the current attempt, before the owner's interceptors saw it.
        budget_s: seconds that the current attempt may take.
    """

    call_id: str
    envelope: Envelope
    service: Service
    policy: Policy
    deadline: Deadline
    correlation_id: str
    request_id: str
    started: float
    attempts: int = 0
    wire: Wire = field(default_factory=Wire)
    budget_s: float = 0.0
    result: Result | None = None

    @property
    def delivery(self) -> Delivery:
        """Whether the service may have acted on the current attempt, as far as is known now."""
        if isinstance(self.result, Failure):
            return self.result.delivery
        if self.result is not None:
            return Delivery.ANSWERED
        return Delivery.NOT_SENT if self.wire.sent is None else Delivery.MAYBE_SENT

    @property
    def call(self) -> Call:
        """What is asked."""
        return self.envelope.call

    @property
    def attempt_request_id(self) -> str:
        """The id of the current attempt's request: one for each."""
        return self.request_id if self.attempts <= 1 else f"{self.request_id}-{self.attempts}"


Proceed = Callable[[Execution], Awaitable[Result]]


class Layer(Protocol):
    """One step around the rest: it may refuse, bound, repeat or pass on. It never raises but `CancelledError`."""

    def __call__(self, execution: Execution, proceed: Proceed, /) -> Awaitable[Result]: ...
