"""A call's lease, attempts and parking as a pure machine: a frozen state, and one function for each script.

It says what `workers/fleet/*.lua` must decide, without a server, a lock or a clock. Rates, budgets and places are left
out, since they decide when a call goes and never whether it may; the breaker stands for all of them: open or closed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

__all__ = [
    "CLAIM_S",
    "LEASE_S",
    "LIFE_S",
    "MOST_DEATHS",
    "QUARANTINE_S",
    "Answer",
    "Ask",
    "Claim",
    "End",
    "Fleet",
    "Message",
    "Park",
    "Parked",
    "Record",
    "admit",
    "cancel",
    "expire",
    "lose",
    "renew",
    "report",
    "store",
    "submit",
]

#: One death less than the workers' own number, so that suspects are no rarity.
LEASE_S, CLAIM_S, MOST_DEATHS = 10.0, 10.0, 2
#: How long an attempt can take, and so how long a suspect that never reports keeps the others away.
LIFE_S = 10.0
QUARANTINE_S = 1.0
_DEATHS_MOST = 10

#: `("go", token, number, interrupted, maybe)`, `("hold", token, number, why, due, interrupted, maybe)` with -1 for
#: what a gate decides, `("late", token, number, why, interrupted, maybe)`, `("poison", token, number, deaths)`,
#: `("elsewhere", seconds)`, `("drop",)`, `("cancelled", maybe, attempts)`.
Answer = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of a call, see `gateway.records`. None: the field is not there."""

    state: str | None = None
    lease: int | None = None
    lease_until: float = 0.0
    owner: str | None = None
    attempts: int = 0
    parks: int | None = None
    open: int = 0
    maybe: int = 0
    paid: int = 0
    deaths: int = 0
    interrupted: int = 0
    #: Of the attempt that went as the only suspect; 0 once it has reported.
    alone: int = 0
    #: Token of the owner that was told that the call is poisonous.
    poison: int = 0
    why: str = ""
    deadline_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a call. `parks` and `maybe` are the headers that it got when it came out of parking."""

    call: str
    parks: int = 0
    maybe: int = 0
    redelivered: bool = False


@dataclass(frozen=True, slots=True)
class Parked:
    """An entry of the parking lot: when it may go on, when it must, and what comes out then."""

    due: float
    ends: float
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything that the scripts read and write."""

    records: Mapping[str, Record] = field(default_factory=dict)
    lot: Mapping[str, Parked] = field(default_factory=dict)
    #: The outcome of each call that has one.
    results: Mapping[str, str] = field(default_factory=dict)
    breaker_open: bool = False
    #: The attempt that goes while no other suspect does, and until when it is waited for.
    suspect: str | None = None
    suspect_until: float = 0.0

    def record(self, call: str) -> Record:
        return self.records.get(call, Record())

    def write(self, call: str, record: Record) -> "Fleet":
        return replace(self, records={**self.records, call: record})

    def put(self, member: str, entry: Parked) -> "Fleet":
        return replace(self, lot={**self.lot, member: entry})

    def take_out(self, member: str) -> "Fleet":
        return replace(self, lot={name: entry for name, entry in self.lot.items() if name != member})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """As `workers.verdict.Ask`."""

    call: str
    number: int
    token: int
    owner: str
    parks: int
    left_s: float
    recorded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """As `workers.fleet.reports.End`. `answered`: the service is well and took it on, so it may have acted."""

    call: str
    number: int
    token: int
    answered: bool
    over: bool = False
    maybe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """What `park.lua` is told of a call."""

    call: str
    due: float | None
    deadline_at: float
    token: int
    owner: str
    attempts: int
    maybe: int
    paid: int
    why: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A parked call in the hands of an unparker."""

    member: str
    parks: int
    message: Message
    for_s: float


def submit(fleet: Fleet, call: str, deadline_at: float) -> Fleet:
    """The producer's record."""
    return fleet.write(call, Record(state="pending", deadline_at=deadline_at))


def admit(fleet: Fleet, ask: Ask, now: float) -> tuple[Fleet, Answer]:
    """`admit.lua` for one question."""
    r = fleet.record(ask.call)
    token, number, maybe, interrupted = ask.token, ask.number, r.maybe, 0
    mine = r.owner == ask.owner
    if token == 0 and not mine and ask.call in fleet.results:
        return fleet, ("drop",)
    if token == 0 and r.lease is not None and not mine:
        if r.lease_until > now:
            return fleet, ("elsewhere", r.lease_until - now)
        if (r.parks or 0) > ask.parks:
            return fleet, ("drop",)
        if r.open > 0:
            interrupted = int(r.state == "running")
            maybe = 1 if r.state == "cancelled" else maybe
    if token == 0 and ask.recorded and ask.call not in fleet.records:
        interrupted = 1
    if r.state == "cancelled":
        return fleet, ("cancelled", maybe, r.attempts)
    was = r
    if token == 0 and mine:
        token, number, interrupted = r.lease or 0, max(number, r.attempts + 1), r.interrupted
        if r.poison == token:
            return fleet, ("poison", token, number, r.deaths)
    elif token == 0 or r.lease is None:
        if token == 0:
            number = max(number, r.attempts + 1)
        token += (r.lease or 0) + 1
        r = replace(r, state="running", lease=token, owner=ask.owner, lease_until=now + LEASE_S)
        r = replace(r, deadline_at=r.deadline_at or now + ask.left_s, deaths=r.deaths + interrupted)
        r = replace(r, interrupted=interrupted, open=max(r.open, interrupted))
        fleet = fleet.write(ask.call, r)
        if interrupted and r.deaths >= MOST_DEATHS and (r.alone > 0 or r.deaths >= _DEATHS_MOST):
            fleet = fleet.write(ask.call, replace(r, poison=token))
            return fleet, ("poison", token, number, r.deaths)
    elif r.lease != token:
        return fleet, ("drop",)
    if ask.left_s <= 0:
        why = ("breaker" if fleet.breaker_open else was.why) if was.state == "parked" else ""
        return fleet, ("late", token, number, why, interrupted, maybe)
    member = f"{ask.call}#{number}"
    is_suspect = r.deaths >= max(1, MOST_DEATHS - 1)
    holder = None if fleet.suspect is None else fleet.suspect.rpartition("#")[0]
    if is_suspect and holder not in (None, ask.call) and fleet.record(str(holder)).lease_until > now:
        return fleet, ("hold", token, number, "quarantine", QUARANTINE_S, interrupted, maybe)
    if fleet.breaker_open:
        return fleet, ("hold", token, number, "breaker", -1.0, interrupted, maybe)
    r = replace(r, attempts=number, open=number, paid=number if number > 1 else r.paid)
    if is_suspect:
        r = replace(r, alone=number)
        fleet = replace(fleet, suspect=member, suspect_until=now + LIFE_S)
    return fleet.write(ask.call, r), ("go", token, number, interrupted, maybe)


def report(fleet: Fleet, end: End) -> Fleet:
    """`report.lua` for one end."""
    if end.number > 0 and fleet.suspect == f"{end.call}#{end.number}":
        fleet = replace(fleet, suspect=None).write(end.call, replace(fleet.record(end.call), alone=0))
    r = fleet.record(end.call)
    undone = end.number > 0 and not end.maybe and not end.answered
    if end.token == 0 or not (end.over or end.maybe or undone) or r.lease != end.token:
        return fleet
    if end.maybe:
        r = replace(r, maybe=1)
    if end.over:
        r = replace(r, lease_until=0.0)
    if not end.maybe and (end.over or r.open == end.number):
        r = replace(r, open=0)
    return fleet.write(end.call, r)


def renew(fleet: Fleet, held: Iterable[tuple[str, int]], now: float) -> tuple[Fleet, set[str]]:
    """`renew.lua`: the calls whose lease was lost."""
    lost = set()
    for call, token in held:
        r = fleet.record(call)
        is_left = r.lease == token and r.lease_until == 0.0
        if r.lease is None:
            r = replace(r, lease=token, state="running", open=1)
        if is_left:
            continue  # parked or given back, since this was on its way
        if r.lease == token:
            fleet = fleet.write(call, replace(r, lease_until=now + LEASE_S))
        else:
            lost.add(call)
    return fleet, lost


def cancel(fleet: Fleet, call: str) -> tuple[Fleet, bool]:
    """The producer cancels; False if the call has its outcome."""
    if call in fleet.results:
        return fleet, False
    fleet = fleet.write(call, replace(fleet.record(call), state="cancelled"))
    if call in fleet.lot:
        fleet = fleet.put(call, replace(fleet.lot[call], ends=0.0))
    return fleet, True


def store(fleet: Fleet, call: str, outcome: str) -> tuple[Fleet, bool]:
    """The script of `workers.outcome_backend`: the first outcome stands; False if it is another one."""
    if call in fleet.results:
        return fleet, False
    return replace(fleet, results={**fleet.results, call: outcome}), True


def expire(fleet: Fleet, now: float) -> Fleet:
    """What ends by itself: a suspect is not waited for any longer than its attempt can take."""
    return replace(fleet, suspect=None) if fleet.suspect_until <= now else fleet


def lose(fleet: Fleet, call: str) -> Fleet:
    """The server comes back without a record, and what came after it."""
    if fleet.suspect is not None and fleet.suspect.startswith(f"{call}#"):
        fleet = replace(fleet, suspect=None)
    return replace(fleet, records={name: record for name, record in fleet.records.items() if name != call})
