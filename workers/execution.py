"""One call as it is executed: what the layers see, and the type of a layer."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Protocol

from gateway.call import Call
from gateway.dead_letter import NO_ANSWER, AttemptMade
from gateway.envelope import Envelope
from gateway.errors import Delivery
from gateway.outcome import Failure
from gateway.policy import Policy
from gateway.routing import shortened
from gateway.service import Service
from gateway.signing import Claims
from workers.attempt import Answer, Wire
from workers.deadline import Deadline
from workers.observation import Event, Stream
from workers.outcomes import Dropped
from workers.resilience.breaker import Permit
from workers.resilience.repetition import did_nothing
from workers.verdict import Elsewhere, Go, Verdict

__all__ = ["NO_PROBE", "Execution", "Fleet", "Hold", "Layer", "Proceed", "Progress", "Result"]


#: Where nobody observes calls.
_NOBODY = Stream().tell
#: Of an attempt that decides nothing about a breaker.
NO_PROBE = Permit(probe=False)


class Fleet(Protocol):
    """What the layers ask, and tell, about all attempts of all workers."""

    async def ask(self, execution: "Execution") -> Verdict:
        """May the call's next attempt be sent? Takes the call's lease with the first question. Never raises."""
        ...

    def began(self, execution: "Execution") -> None:
        """The current attempt is sent; `ended` follows."""
        ...

    def ended(self, execution: "Execution", go: Go, result: "Answer | Failure | None", elapsed_s: float) -> None:
        """The attempt that `go` let through is over; None: it was cancelled."""
        ...

    def has_room(self, service: str) -> bool:
        """Whether one more call may wait in this worker for a place at a service."""
        ...

    async def freed(self, service: str, timeout_s: float) -> None:
        """Wait until an attempt of this worker at a service is over, or for `timeout_s`."""
        ...

    def hedge_after_s(self, execution: "Execution") -> float | None:
        """Seconds after which a second attempt may start beside the first; None: never."""
        ...


@dataclass(frozen=True, slots=True)
class Hold:
    """The call has to wait for longer than a worker waits.

    Attributes:
        why: for operators.
        due_s: seconds until it may go on; None: a gate decides.
        otherwise: what the call ends with if it cannot be parked.
    """

    why: str
    due_s: float | None
    otherwise: Failure


#: What comes back through the layers.
Result = Answer | Failure | Hold | Dropped | Elsewhere


@dataclass(slots=True, kw_only=True)
class Progress:
    """What all attempts of a call share, also those of earlier workers.

    Attributes:
        attempts: how many were started.
        free: how many of them do not count.
        maybe_sent: the service may have acted on one that is over, whatever it answered.
        spent_s: seconds in workers before this one.
        token: of the call's lease; 0 before there is one.
        owner: names this execution of the call, among those of all workers.
        redelivered: the broker says that the message was delivered before.
        recorded: whoever enqueued the message had made a record of the call before.
        parks: how often the call was parked.
        replay_of: id of the dead letter that it is a replay of.
        paid: the number of the attempt that the retry budget paid for.
        last: how the last attempt failed, if this worker made it.
        deaths: how many workers it ended, if that is why it ends.
        on_wire: the attempts that run now.
        history: the attempts of this worker that ended without a reply.
    """

    attempts: int = 0
    free: int = 0
    maybe_sent: bool = False
    spent_s: float = 0.0
    token: int = 0
    owner: str
    redelivered: bool = False
    recorded: bool = False
    parks: int = 0
    replay_of: str | None = None
    paid: int = 0
    last: Failure | None = None
    deaths: int = 0
    on_wire: "list[Execution]" = field(default_factory=list)
    history: list[AttemptMade] = field(default_factory=list)


@dataclass(slots=True, kw_only=True, eq=False)
class Execution:
    """A call in execution, and its current attempt. A hedge runs on a `branch` of it.

    Attributes:
        call_id: the Celery task's id.
        envelope: what the producer sent.
        service, policy: as the catalogue resolves them for this call.
        deadline: of the call.
        correlation_id: as sent, or made here.
        request_id: of the first attempt.
        started: monotonic seconds when the worker took the call.
        accepted_at: the same as Unix seconds of the fleet's clock.
        worker: who executes it, `host:pid`.
        not_before: Unix seconds of the fleet's clock before which it does not begin: an `eta`, or a countdown.
        claims: of its caller's signature; None where nobody has to sign.
        fleet: what is shared with all other calls.
        idempotent: asks whether the call may be repeated; it may have to look the method up.
        tell: tells whoever observes calls.
        progress: what all its attempts share.
        number: of the current attempt, 0 before the first.
        wire: the marks of the current attempt.
        result: what the transport said of the current attempt, before the owner's interceptors saw it.
        sent_call: what the current attempt asks, if the owner's interceptors changed it.
        trace: headers of the current attempt's part of a trace; None: the producer's go on.
        budget_s: seconds that the current attempt may take.
        hedge: the current attempt runs beside another.
        permit: the breaker's, of the current attempt.
        in_flight: attempts of the fleet at the service when the current one was let through; 0 if nobody knows.
    """

    call_id: str
    envelope: Envelope
    service: Service
    policy: Policy
    deadline: Deadline
    correlation_id: str
    request_id: str
    started: float
    accepted_at: float
    worker: str
    claims: Claims | None
    fleet: Fleet
    idempotent: Callable[[], Awaitable[bool]]
    tell: Callable[[Event], object] = _NOBODY
    progress: Progress
    number: int = 0
    wire: Wire = field(default_factory=Wire)
    trace: Mapping[str, str] | None = None
    budget_s: float = 0.0
    result: Answer | Failure | None = None
    sent_call: Call | None = None
    hedge: bool = False
    not_before: float = 0.0
    permit: Permit = NO_PROBE
    in_flight: int = 0

    def branch(self) -> "Execution":
        """The same call, for an attempt beside this one."""
        return replace(self, wire=Wire(), result=None, hedge=True, permit=NO_PROBE, number=0)

    def adopt(self, winner: "Execution") -> None:
        """Go on with the attempt of a branch as its own."""
        self.number, self.wire, self.result = winner.number, winner.wire, winner.result
        self.budget_s, self.trace = winner.budget_s, winner.trace

    def begin_attempt(self, go: Go) -> None:
        """A new attempt starts."""
        self.number, self.permit, self.in_flight = go.number, go.permit, go.in_flight
        self.wire, self.result = Wire(), None
        self.progress.attempts = max(self.progress.attempts, go.number)
        self.progress.on_wire.append(self)

    def end_attempt(self, result: "Result | None", elapsed_s: float) -> None:
        """The attempt is over; None: it was cancelled."""
        if self in self.progress.on_wire:
            self.progress.on_wire.remove(self)
        if not isinstance(result, Answer):
            self.progress.history.append(self._as_made(result, elapsed_s))
        if self.attempt_delivery is Delivery.NOT_SENT:
            return
        if not (isinstance(self.result, Failure) and did_nothing(self.result, self.policy.retry)):
            self.progress.maybe_sent = True

    def _as_made(self, result: "Result | None", elapsed_s: float) -> AttemptMade:
        failure = result if isinstance(result, Failure) else None
        return AttemptMade(
            number=self.number,
            at=self.accepted_at + monotonic() - self.started - elapsed_s,
            took_s=elapsed_s,
            worker=self.worker,
            outcome=NO_ANSWER if failure is None else failure.error.__name__,
            status=None if failure is None else failure.status,
            delivery=self.attempt_delivery if failure is None else failure.delivery,
        )

    @property
    def attempt_delivery(self) -> Delivery:
        """Whether the service may have acted on the current attempt, as far as is known now."""
        if isinstance(self.result, Failure):
            return self.result.delivery
        if self.result is not None:
            return Delivery.ANSWERED
        return Delivery.NOT_SENT if self.wire.sent is None else Delivery.MAYBE_SENT

    @property
    def delivery(self) -> Delivery:
        """Whether the service may have acted on the call, as far as is known now."""
        return self.overall(self.attempt_delivery)

    def overall(self, last: Delivery) -> Delivery:
        """Whether the service may have acted on the call, when its last attempt ended so.

        What was not sent at last may have been sent before.
        """
        if last is not Delivery.NOT_SENT:
            return last
        sent = self.progress.maybe_sent or any(
            other.attempt_delivery is not Delivery.NOT_SENT for other in self.progress.on_wire
        )
        return Delivery.MAYBE_SENT if sent else Delivery.NOT_SENT

    @property
    def history(self) -> Sequence[AttemptMade]:
        """The attempts of this worker that ended without a reply, in the order of their ends."""
        return self.progress.history

    @property
    def call(self) -> Call:
        """What is asked."""
        return self.envelope.call

    @property
    def left_s(self) -> float:
        """Seconds until the call's deadline; negative once it has passed."""
        return self.deadline.left(monotonic())

    @property
    def total_left_s(self) -> float:
        """Seconds that `timeouts.total` leaves; negative once it has passed."""
        return self.policy.timeouts.total - self.spent_s

    @property
    def cut_short(self) -> bool:
        """Whether the current attempt has less than half of the time that the catalogue gives it.

        By its deadline, or by whatever its producer asked for. A timeout then says more about the producer.
        """
        usual = self.service.operation_policies.get(self.call.operation, self.service.policy)
        return self.budget_s < usual.timeouts.attempt / 2

    @property
    def counted(self) -> int:
        """The attempts that count against `retry.attempts`."""
        return self.progress.attempts - self.progress.free

    @property
    def operation(self) -> str:
        """What is asked, for people and labels."""
        return shortened(self.call.operation)

    @property
    def spent_s(self) -> float:
        """Seconds in workers, this one included."""
        return self.progress.spent_s + monotonic() - self.started

    @property
    def attempt_request_id(self) -> str:
        """The id of the current attempt's request: one for each."""
        return self.request_id if self.number <= 1 else f"{self.request_id}-{self.number}"


Proceed = Callable[[Execution], Awaitable[Result]]


class Layer(Protocol):
    """One step around the rest: it may refuse, bound, repeat or pass on. It never raises but `CancelledError`."""

    def __call__(self, execution: Execution, proceed: Proceed, /) -> Awaitable[Result]: ...
