"""Workers around `call_machine`: what they do, step by step, and what may go wrong.

As `workers/resilience/admit.py`, `repeat.py`, `workers/executor.py`, `workers/parker.py` and `workers/pool/ending.py`.
"""

from dataclasses import replace
from typing import Literal

from tests.properties import call_machine as pure
from tests.properties import call_parking
from tests.properties.call_machine import LEASE_S, MOST_DEATHS, Ask, End, Park
from tests.properties.calls_around import Ending, Execution, Fault, Try, Worker, World

__all__ = ["Work"]

#: How often parking is tried; how many doubtful ones are taken back at once, few so that some are left over.
_TRIES, _FORGOTTEN = 3, 1
#: A call that has less time than this left is not parked for something whose end is not known.
_LAST_CALL_S = 1.0


class Work(World):
    """See the module."""

    # -- a worker ------------------------------------------------------------------------------------------------------

    def tell(self, worker: Worker, *, answer_lost: bool = False) -> None:
        """Reports go out; when the answer is lost, they go out again later."""
        for end in worker.reports:
            before = self.fleet.record(end.call)
            self.fleet = pure.report(self.fleet, end)
            # That a suspect is not waited for any more is true, whoever has the call now.
            after = replace(self.fleet.record(end.call), alone=before.alone)
            assert before.lease == end.token or after == before, "a stale token reported"
            if self.scripts:
                self.scripts.report(end, self.now)
            self.compare(end.call)
        if not answer_lost:
            worker.reports = []

    def ask(self, one: Execution, *, fault: Fault = "", waits: bool = False) -> None:
        """Ask, and follow the answer. With a fault it decides alone, and `waits` if its own breaker is open."""
        left = one.call.deadline_at - self.now
        ask = Ask(
            call=one.call.name,
            number=one.attempts + 1,
            token=one.token,
            owner=one.owner,
            parks=one.message.parks,
            left_s=left,
            recorded=one.message.redelivered,
        )
        answer: pure.Answer = ()
        if fault != "away" and not one.worker.cut_off:
            self.tell(one.worker, answer_lost=fault != "")
            self.fleet, answer = pure.admit(self.fleet, ask, self.now)
            if self.scripts:
                assert self.scripts.admit(ask, self.now) == answer
            self.compare(one.call.name)
        if fault or one.worker.cut_off:
            self._decide_alone(one, ask, waits=waits)
        else:
            self._follow(one, answer)

    def _decide_alone(self, one: Execution, ask: Ask, *, waits: bool) -> None:
        interrupted = one.message.redelivered and one.token == 0
        refused = self._resume(one, ask.token, ask.number, interrupted=interrupted, maybe=False)
        if refused or ask.left_s <= 0:
            one.phase = "settled"
        elif not one.call.idempotent:
            self._hold(one, "store", None)
        elif not waits:
            one.phase, one.number, one.alone, one.suspect_at = "going", ask.number, True, None
        else:
            self._hold(one, "breaker", None)

    def _hold(self, one: Execution, why: str, due: float | None) -> None:
        last_call = due is None and one.call.deadline_at - self.now < _LAST_CALL_S
        one.phase, one.why, one.due = "settled" if last_call else "holding", why, due

    def _follow(self, one: Execution, answer: pure.Answer) -> None:
        match answer:
            case ("drop",):
                one.phase = "leaving"
            case ("elsewhere", float(for_s)):
                one.phase, one.for_s = "elsewhere", for_s
            case ("cancelled", maybe, _):
                one.maybe |= maybe == 1
                one.phase = "settled"
                one.confirmed_at = self.now
            case ("poison", int(token), *_):
                one.token, one.confirmed_at, one.phase, one.maybe = token, self.now, "settled", True
            case (kind, int(token), int(number), *_, int(interrupted), int(maybe)):
                one.confirmed_at, one.alone = self.now, False
                refused = self._resume(one, token, number, interrupted=interrupted == 1, maybe=maybe == 1)
                if kind == "go":
                    one.number, one.paid = number, number
                    is_suspect = self.fleet.record(one.call.name).deaths >= MOST_DEATHS - 1
                    one.suspect_at = self.now if is_suspect else None
                    if refused:
                        self._report(one, number, answered=False)
                    else:
                        one.attempts = max(one.attempts, number)
                    one.phase = "settled" if refused else "going"
                elif refused or kind == "late":
                    one.phase = "settled"
                else:
                    why, due = answer[3:5]
                    assert isinstance(why, str)
                    assert isinstance(due, float)
                    self._hold(one, why, None if due < 0 else self.now + due)

    def _resume(self, one: Execution, token: int, number: int, *, interrupted: bool, maybe: bool) -> bool:
        if one.attempts or (one.token and one.token == token):
            one.token = token
            return False
        one.token, one.attempts = token, number - 1
        one.maybe |= maybe or interrupted
        return interrupted and not one.call.idempotent

    def _report(self, one: Execution, number: int, *, answered: bool, over: bool = False) -> None:
        maybe = one.maybe and not answered
        one.worker.reports.append(
            End(call=one.call.name, number=number, token=one.token, answered=answered, over=over, maybe=maybe)
        )

    def send(self, one: Execution) -> None:
        tries = self.wire[one.call.name]
        if one.alone:
            self.unrecorded.add(one.call.name)
        if not one.call.idempotent:
            assert not any(tried.acted for tried in tries), "sent again, and the first may have acted"
        one.attempts = max(one.attempts, one.number)
        tries.append(Try(one.owner, one.number))
        one.phase = "on the wire"

    def end_attempt(self, one: Execution, ending: Ending, then: Literal["again", "back off", "end"]) -> None:
        """An attempt ends. `then`: what the retry policy says, where the call may be repeated."""
        if ending in ("not sent", "refused"):
            self._try_of(one).acted = False
        else:
            one.maybe = True
        self._report(one, one.number, answered=ending == "answered")
        repeatable = ending in ("not sent", "refused") or (ending == "maybe sent" and one.call.idempotent)
        if not repeatable or then == "end":
            one.phase = "settled"
        elif then == "again":
            one.phase = "asking"
        else:
            one.phase, one.why, one.due = "holding", "backoff", self.now + 2.0

    def _try_of(self, one: Execution) -> Try:
        return next(t for t in self.wire[one.call.name][::-1] if (t.owner, t.number) == (one.owner, one.number))

    def stop(self, one: Execution, *, give_back: bool) -> None:
        """Its coroutine is cancelled: its message goes back, or the producer does not want it any more."""
        if one.phase == "on the wire":
            one.maybe = True
        if one.phase in ("going", "on the wire"):
            self._report(one, one.number, answered=False)
        if one.token:
            self._report(one, 0, answered=False, over=True)
        if not give_back:
            one.phase, one.unsure = "settled", True
            return
        one.phase = "over"
        self.executions.remove(one)
        if one.delivery in self.unacked:
            self.redeliver(one.delivery)

    def park(self, one: Execution, *, fault: Fault = "") -> None:
        name = one.call.name
        asked = Park(
            call=name,
            due=one.due,
            deadline_at=one.call.deadline_at,
            token=one.token,
            owner=one.owner,
            attempts=one.attempts,
            maybe=int(one.maybe),
            paid=one.paid,
            why=one.why,
        )
        one.phase, one.tries = "parking", one.tries + 1
        away = fault == "away" or one.worker.cut_off
        parked = 0
        if not away:
            self._forget(one.worker, answer_lost=fault != "")
            lease = self.fleet.record(name).lease
            self.fleet, parked = call_parking.park(self.fleet, asked, self.now)
            assert not parked or one.token == 0 or lease in (None, one.token), "a stale token parked"
            if self.scripts:
                assert self.scripts.park(asked, self.now) == parked
            self.compare(name)
        if not (away or fault):
            if parked or one.token:
                one.phase = "leaving"
            else:
                one.phase, one.for_s, one.tries = "elsewhere", LEASE_S, 0
            one.worker.doubtful = [gone for gone in one.worker.doubtful if gone != (name, one.token)]
            return
        one.worker.doubtful.append((name, one.token))
        one.unsure |= parked == 1
        if one.tries == _TRIES:
            one.phase, one.maybe = "settled", True

    def _forget(self, worker: Worker, *, answer_lost: bool = False) -> None:
        for name, token in worker.doubtful[:_FORGOTTEN]:
            self.fleet = call_parking.forget(self.fleet, name, token)
            if self.scripts:
                self.scripts.forget(name, token, self.now)
            self.compare(name)
        if not answer_lost:
            del worker.doubtful[:_FORGOTTEN]

    def postpone(self, one: Execution) -> None:
        if one.worker.cut_off:
            one.tries += 1
            if one.tries == _TRIES:
                one.phase, one.maybe = "settled", True
            return
        self._forget(one.worker)
        self.repeated.add(one.call.name)
        due = self.now + one.for_s
        self.fleet = call_parking.postpone(self.fleet, one.message, one.owner, due, int(one.maybe))
        if self.scripts:
            self.scripts.postpone(one.message, one.owner, due, int(one.maybe), self.now)
        self.compare(one.call.name)
        one.phase = "leaving"

    def store(self, one: Execution) -> None:
        """The outcome, unless it is known that the call is another's. The first one stands."""
        name = one.call.name
        if one.worker.cut_off:
            return  # tried again until Redis answers
        if not one.lost:
            sure = self.now < one.confirmed_at + LEASE_S and not one.unsure
            if one.token and sure and name not in self.forgotten:
                assert self.fleet.record(name).lease == one.token, "a stale token stored an outcome"
            told = "maybe sent" if one.maybe else "not sent" if sure else "not by this worker"
            outcome = f"{told}, by {one.owner}"
            self.fleet, is_first = pure.store(self.fleet, name, outcome)
            assert is_first != (name in self.stored), "one outcome: the first stored"
            if self.scripts:
                assert self.scripts.store(name, outcome) == is_first
            if is_first:
                self.stored[name] = told
            self.compare(name)
        one.phase = "leaving"

    def give_up(self, one: Execution) -> None:
        """Its worker ends, and cannot store the outcome: the message goes back."""
        one.phase = "over"
        self.executions.remove(one)
        if one.delivery in self.unacked:
            self.redeliver(one.delivery)

    def ack(self, one: Execution) -> None:
        one.phase = "over"
        self.executions.remove(one)
        if one.delivery in self.unacked:
            self.unacked.remove(one.delivery)

    # -- the unparker of a worker --------------------------------------------------------------------------------------

    def claim(self, worker: Worker) -> None:
        self.fleet, claims = call_parking.claim(self.fleet, self.now)
        if self.scripts:
            real = [(one.member, one.parks, one.message, one.for_s) for one in self.scripts.claim(self.now)]
            assert real == [(one.member, one.parks, one.message, one.for_s) for one in claims]
        self.compare()
        worker.claims += claims

    def publish(self, worker: Worker, *, copies: int = 1, then_die: bool = False) -> None:
        self.queue += [one.message for one in worker.claims] * copies
        if copies > 1 or then_die:
            self.repeated |= {one.message.call for one in worker.claims}
        if then_die:
            self.die(worker)
            return
        self.fleet = call_parking.claimed(self.fleet, worker.claims)
        if self.scripts:
            self.scripts.claimed(worker.claims)
        worker.claims = []
        self.compare()
