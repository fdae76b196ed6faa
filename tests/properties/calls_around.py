"""What is around the workers of `calls_at_work`: producers, a broker, the fleet, time; and what must hold of it.

With `scripts` every step is also made by the real scripts, and what they answer and write is compared.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.properties import call_machine as pure
from tests.properties.call_machine import LIFE_S, Claim, End, Fleet, Message
from tests.properties.call_scripts import Scripts

__all__ = ["T0", "Call", "Delivery", "Ending", "Execution", "Fault", "Try", "Worker", "World"]

#: Far ahead: what expires by this clock must not be gone by the server's. Whole steps, so that text holds them exactly.
T0 = 4_000_000_000.0
_RENEWED_S = 3.0

#: How an attempt ends. `refused`: the service said that it did nothing.
Ending = Literal["answered", "maybe sent", "not sent", "refused"]
#: Of a question to Redis.
Fault = Literal["", "answer lost", "away"]
Phase = Literal["asking", "going", "on the wire", "holding", "parking", "elsewhere", "settled", "leaving", "over"]
#: Of calls whose coroutine runs: they can be cancelled.
_RUNNING = ("asking", "going", "on the wire", "holding", "elsewhere")
#: Of calls whose lease is renewed: until the outcome is stored.
_LEASED = (*_RUNNING, "parking", "settled")


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    idempotent: bool
    deadline_at: float


@dataclass(slots=True, eq=False, repr=False)
class Worker:
    name: str
    frozen: bool = False
    #: The fleet's Redis does not answer it.
    cut_off: bool = False
    alive: bool = True
    reports: list[End] = field(default_factory=list)
    doubtful: list[tuple[str, int]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Worker {self.name}>"

    @property
    def works(self) -> bool:
        return self.alive and not self.frozen


@dataclass(slots=True, eq=False, repr=False)
class Delivery:
    message: Message
    worker: Worker

    def __repr__(self) -> str:
        return f"<Delivery of {self.message} to {self.worker}>"


@dataclass(slots=True, eq=False, repr=False)
class Try:
    """An attempt that reached the wire."""

    owner: str
    number: int
    acted: bool = True

    def __repr__(self) -> str:
        return f"<Try {self.number} by {self.owner}, {'may have acted' if self.acted else 'did nothing'}>"


@dataclass(slots=True, eq=False, repr=False)
class Execution:
    call: Call
    worker: Worker
    delivery: Delivery
    owner: str
    phase: Phase = "asking"
    token: int = 0
    attempts: int = 0
    number: int = 0
    paid: int = 0
    maybe: bool = False
    for_s: float = 0.0
    why: str = ""
    due: float | None = None
    lost: bool = False
    #: How often parking was tried in vain.
    tries: int = 0
    #: When its attempt was let go as the only suspect.
    suspect_at: float | None = None
    #: Its worker let the attempt go by itself, since Redis did not answer.
    alone: bool = False
    #: When Redis last said that the call is its own.
    confirmed_at: float = 0.0
    #: It gave its lease up, or may have, and has an outcome nevertheless: parked without an answer, or revoked.
    unsure: bool = False

    def __repr__(self) -> str:
        return f"<Execution {self.owner} of {self.call.name} {self.phase}, token {self.token}>"

    @property
    def message(self) -> Message:
        return self.delivery.message

    @property
    def is_leased(self) -> bool:
        return self.token > 0 and self.phase in _LEASED

    @property
    def is_running(self) -> bool:
        return self.phase in _RUNNING


class World:
    """See the module.

    Attributes:
        stored: of each call, what its first outcome says of the attempts: "maybe sent", "not sent", or "not by this
            worker" where the fleet's Redis was not asked, or so long ago that another may have the call.
        unrecorded: calls of which a worker sent an attempt by itself, since Redis did not answer.
        forgotten: calls whose record was lost.
        repeated: calls that may have two messages which the broker delivers for the first time.
    """

    def __init__(self, scripts: Scripts | None = None) -> None:
        self.scripts = scripts
        self.fleet = Fleet()
        self.now = T0
        self.calls: dict[str, Call] = {}
        self.queue: list[Message] = []
        self.unacked: list[Delivery] = []
        self.workers: list[Worker] = []
        self.executions: list[Execution] = []
        self.wire: dict[str, list[Try]] = {}
        self.stored: dict[str, str] = {}
        self.unrecorded: set[str] = set()
        self.forgotten: set[str] = set()
        self.repeated: set[str] = set()
        self._hired = self._begun = 0

    # -- producers, the broker, time -----------------------------------------------------------------------------------

    def submit(self, name: str, *, idempotent: bool, lasts_s: float, copies: int) -> None:
        self.calls[name] = Call(name, idempotent, self.now + lasts_s)
        self.wire[name] = []
        self.fleet = pure.submit(self.fleet, name, self.now + lasts_s)
        if self.scripts:
            self.scripts.submit(name, self.now + lasts_s)
        self.queue += [Message(name)] * copies
        if copies > 1:
            self.repeated.add(name)

    def cancel(self, name: str) -> None:
        self.fleet, done = pure.cancel(self.fleet, name)
        if self.scripts and done:
            self.scripts.cancel(name)
        self.compare(name)

    def switch(self, *, breaker_open: bool) -> None:
        self.fleet = replace(self.fleet, breaker_open=breaker_open)
        if self.scripts:
            self.scripts.switch(breaker_open=breaker_open)

    def hire(self) -> Worker:
        self._hired += 1
        self.workers.append(Worker(f"w{self._hired}"))
        return self.workers[-1]

    def deliver(self, message: Message, worker: Worker) -> Execution:
        self.queue.remove(message)
        delivery = Delivery(message, worker)
        self.unacked.append(delivery)
        self._begun += 1
        execution = Execution(self.calls[message.call], worker, delivery, f"{worker.name}.{self._begun}")
        execution.maybe = message.maybe == 1
        self.executions.append(execution)
        return execution

    def redeliver(self, delivery: Delivery) -> None:
        """The broker gives it to somebody again, whoever still works at it."""
        self.unacked.remove(delivery)
        self.queue.append(replace(delivery.message, redelivered=True))

    def lose(self, name: str) -> None:
        """The fleet's Redis comes back without what it knew of a call."""
        before, self.fleet = self.fleet, pure.lose(self.fleet, name)
        self.forgotten.add(name)
        if self.scripts:
            self.scripts.lose(name)
            if self.fleet.suspect != before.suspect:
                self.scripts.expire()
        self.compare(name)

    def pass_time(self, seconds: float) -> None:
        """Workers that can renew their leases meanwhile."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + _RENEWED_S)
            before, self.fleet = self.fleet, pure.expire(self.fleet, self.now)
            if self.scripts and self.fleet is not before:
                self.scripts.expire()
            for worker in self.workers:
                if worker.works and not worker.cut_off:
                    self.renew(worker)

    def die(self, worker: Worker) -> None:
        worker.alive = False
        self.workers.remove(worker)
        self.executions = [one for one in self.executions if one.worker is not worker]

    def renew(self, worker: Worker) -> None:
        held = [one for one in self.executions if one.worker is worker and one.is_leased and not one.lost]
        asked = [(one.call.name, one.token) for one in held]
        self.fleet, lost = pure.renew(self.fleet, asked, self.now)
        if self.scripts and asked:
            assert self.scripts.renew(asked, self.now) == lost
        for one in held:
            one.lost = one.call.name in lost and self.fleet.record(one.call.name).lease != one.token
            one.confirmed_at = one.confirmed_at if one.lost else self.now
        self.compare(*(call for call, _ in asked))

    # -- what must hold ------------------------------------------------------------------------------------------------

    def compare(self, *names: str) -> None:
        """The server has what the machine has."""
        if self.scripts is None:
            return
        for name in names:
            real = self.scripts.record(name)
            for fieldname in ("state", "lease", "owner"):
                assert real.get(fieldname) == getattr(self.fleet.record(name), fieldname), (name, fieldname)
            assert self.scripts.outcome(name) == self.fleet.results.get(name), (name, "outcome")
            for fieldname in (
                "lease_until",
                "attempts",
                "parks",
                "open",
                "maybe",
                "paid",
                "deaths",
                "interrupted",
                "alone",
                "deadline_at",
            ):
                assert real.get(fieldname, 0) == (getattr(self.fleet.record(name), fieldname) or 0), (name, fieldname)
        wanted = {
            member: (entry.due, entry.ends, entry.message.parks, entry.message.maybe)
            for member, entry in self.fleet.lot.items()
        }
        assert self.scripts.lot() == wanted
        assert self.scripts.suspect() == self.fleet.suspect

    def check(self) -> None:
        """The promises that hold at every moment."""
        for name in self.calls:
            tokens = [one.token for one in self.executions if one.call.name == name and one.token]
            assert len(tokens) == len(set(tokens)) or name in self.forgotten, "two executions have one token"
            assert name in self.stored or self._is_somewhere(name), f"{name} is lost"
        at_once = [
            one.call.name
            for one in self.executions
            if one.phase in ("going", "on the wire")
            and one.suspect_at is not None
            and self.now < one.suspect_at + LIFE_S
        ]
        assert len(at_once) <= 1, f"suspects at once: {at_once}"

    def _is_somewhere(self, name: str) -> bool:
        places: Iterable[str] = (
            *(message.call for message in self.queue),
            *(delivery.message.call for delivery in self.unacked),
            *(entry.message.call for entry in self.fleet.lot.values()),
            *(one.call.name for one in self.executions),
        )
        return name in places

    def check_outcome(self, name: str) -> None:
        """Once nothing more can come: what was told of the call is true."""
        assert name in self.stored, f"{name} has no outcome"
        if self.stored[name] == "not sent" and name not in self.unrecorded | self.forgotten:
            assert not any(tried.acted for tried in self.wire[name]), f"{name} was not sent, it says"
