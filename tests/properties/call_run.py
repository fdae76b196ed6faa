"""Runs of calls, as hypothesis makes them up: any order of steps and faults, and an end at which nothing fails."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.properties.call_scripts import Scripts
from tests.properties.calls_around import Execution, Worker
from tests.properties.calls_at_work import Work

__all__ = ["Machine"]

FAULTS = st.sampled_from(["", "", "", "answer lost", "away"])
ENDINGS = st.sampled_from(["answered", "maybe sent", "not sent", "refused"])
NEXT = st.sampled_from(["again", "back off", "end"])
#: Rounds within which whatever is left must end, once nothing fails any more.
_ROUNDS = 60


class Machine(RuleBasedStateMachine):
    """One run."""

    client: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.work = Work(Scripts(self.client) if self.client is not None else None)
        for _ in range(2):
            self.work.hire()

    def able(self) -> list[Worker]:
        return [worker for worker in self.work.workers if worker.works]

    def active(self) -> list[Execution]:
        return [one for one in self.work.executions if one.worker.works]

    # -- what happens --------------------------------------------------------------------------------------------------

    @initialize(idempotent=st.booleans(), copies=st.sampled_from([1, 1, 2]))
    def begin(self, idempotent: bool, copies: int) -> None:
        self.submit(idempotent, 500.0, copies)

    @precondition(lambda self: len(self.work.calls) < 3)
    @rule(
        idempotent=st.sampled_from([False, False, True]),
        lasts_s=st.sampled_from([20.0, 500.0]),
        copies=st.sampled_from([1, 1, 2]),
    )
    def submit_another(self, idempotent: bool, lasts_s: float, copies: int) -> None:
        self.submit(idempotent, lasts_s, copies)

    def submit(self, idempotent: bool, lasts_s: float, copies: int) -> None:
        self.work.submit(f"c{len(self.work.calls)}", idempotent=idempotent, lasts_s=lasts_s, copies=copies)

    @precondition(lambda self: self.work.queue and self.able())
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(self.work.queue))
        self.work.deliver(message, data.draw(st.sampled_from(self.able())))

    @precondition(lambda self: self.active())
    @rule(data=st.data(), fault=FAULTS, ending=ENDINGS, then=NEXT)
    def go_on(self, data: st.DataObject, fault: Any, ending: Any, then: Any) -> None:
        self.advance(data.draw(st.sampled_from(self.active())), fault, ending, then)

    @precondition(lambda self: self.active())
    @rule(data=st.data(), ending=ENDINGS, then=NEXT)
    def go_on_well(self, data: st.DataObject, ending: Any, then: Any) -> None:
        self.advance(data.draw(st.sampled_from(self.active())), "", ending, then)

    @precondition(lambda self: self.active())
    @rule(ending=ENDINGS, then=NEXT, steps=st.integers(1, 5))
    def go_on_for_some_steps(self, ending: Any, then: Any, steps: int) -> None:
        one = self.active()[-1]
        for _ in range(steps):
            if one.phase != "over":
                self.advance(one, "", ending, then)

    def advance(self, one: Execution, fault: Any, ending: Any, then: Any) -> None:
        match one.phase:
            case "asking":
                self.work.ask(one, fault=fault, waits=then == "again")
            case "going":
                self.work.send(one)
            case "on the wire":
                self.work.end_attempt(one, ending, then)
            case "holding" if then == "again" and one.due is None:
                self.work.ask(one, fault=fault, waits=True)
            case "holding" | "parking":
                self.work.park(one, fault=fault)
            case "elsewhere":
                self.work.postpone(one)
            case "settled" if one.worker.cut_off and then == "end":
                self.work.give_up(one)
            case "settled":
                self.work.store(one)
            case "leaving":
                self.work.ack(one)

    @precondition(lambda self: self.able())
    @rule(data=st.data(), answer_lost=st.booleans())
    def tell(self, data: st.DataObject, answer_lost: bool) -> None:
        worker = data.draw(st.sampled_from(self.able()))
        if not worker.cut_off:
            self.work.tell(worker, answer_lost=answer_lost)

    @precondition(lambda self: self.work.unacked)
    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        self.work.redeliver(data.draw(st.sampled_from(self.work.unacked)))

    @rule(seconds=st.sampled_from([0.5, 2.5, 11.0, 11.0, 11.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.work.pass_time(seconds)

    @rule(data=st.data(), then_s=st.sampled_from([0.0, 11.0]))
    def die(self, data: st.DataObject, then_s: float) -> None:
        """A worker is killed; perhaps the broker notices, and its leases run out."""
        worker = data.draw(st.sampled_from(self.work.workers))
        self.work.die(worker)
        self.work.hire()
        if then_s:
            self.give_up(worker)

    @precondition(lambda self: self.able())
    @rule(data=st.data())
    def die_with_an_attempt(self, data: st.DataObject) -> None:
        """One that gets so far takes its worker with it, and everybody notices."""
        running = [one for one in self.active() if one.phase in ("asking", "going", "on the wire")]
        if not running and self.work.queue:
            running = [self.work.deliver(data.draw(st.sampled_from(self.work.queue)), self.able()[0])]
        if not running:
            return
        one = data.draw(st.sampled_from(running))
        for _ in range(2):
            if one.phase in ("asking", "going"):
                self.advance(one, "", "answered", "end")
        if one.phase == "on the wire":
            self.work.die(one.worker)
            self.work.hire()
            self.give_up(one.worker)

    @rule(data=st.data(), silent=st.booleans())
    def freeze_or_thaw(self, data: st.DataObject, silent: bool) -> None:
        """A worker stops for a while; perhaps for so long that its calls are given to others."""
        worker = data.draw(st.sampled_from(self.work.workers))
        worker.frozen = not worker.frozen
        if worker.frozen and silent:
            self.give_up(worker)

    def give_up(self, worker: Worker) -> None:
        for delivery in [one for one in self.work.unacked if one.worker is worker]:
            self.work.redeliver(delivery)
        self.work.pass_time(11.0)

    @rule(
        data=st.data(),
        what=st.sampled_from(["cut off", "open", "close", "close", "cancel", "stop", "give back", "lose"]),
    )
    def something_happens(self, data: st.DataObject, what: str) -> None:
        work = self.work
        running = [one for one in self.active() if one.is_running]
        if what == "cut off":
            worker = data.draw(st.sampled_from(work.workers))
            worker.cut_off = not worker.cut_off
        elif what in ("open", "close"):
            work.switch(breaker_open=what == "open")
        elif what == "lose":
            # Parked calls are lost with what the server lost, and of two new messages none can know of the other.
            safe = sorted(set(work.calls) - work.repeated - {one.message.call for one in work.fleet.lot.values()})
            if safe:
                work.lose(data.draw(st.sampled_from(safe)))
        elif what == "cancel":
            work.cancel(data.draw(st.sampled_from(sorted(work.calls))))
        elif running:
            one = data.draw(st.sampled_from(running))
            if what == "stop":
                work.cancel(one.call.name)
            work.stop(one, give_back=what == "give back")

    @precondition(lambda self: self.work.fleet.lot and self.able())
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        self.work.claim(data.draw(st.sampled_from(self.able())))

    @precondition(lambda self: any(worker.claims for worker in self.able()))
    @rule(copies=st.sampled_from([1, 1, 2]), then_die=st.sampled_from([False, False, True]))
    def publish(self, copies: int, then_die: bool) -> None:
        worker = next(worker for worker in self.able() if worker.claims)
        self.work.publish(worker, copies=copies, then_die=then_die)
        if then_die:
            self.work.hire()

    @invariant()
    def the_promises_hold(self) -> None:
        self.work.check()

    # -- the end -------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Nothing fails any more: every call comes to its outcome, and nothing is left behind."""
        work = self.work
        work.switch(breaker_open=False)
        for worker in work.workers:
            worker.frozen = worker.cut_off = False
        for _ in range(_ROUNDS):
            self.round()
            if not (work.queue or work.unacked or work.fleet.lot or work.executions):
                break
        else:
            raise AssertionError(f"it does not end: {work.queue} {work.unacked} {work.fleet.lot} {work.executions}")
        for name in work.calls:
            work.check_outcome(name)

    def round(self) -> None:
        work = self.work
        for delivery in list(work.unacked):
            if not delivery.worker.alive:
                work.redeliver(delivery)
        for message in list(work.queue):
            work.deliver(message, work.workers[0])
        for one in list(work.executions):
            for _ in range(12):
                if one.phase != "over":
                    self.advance(one, "", "answered", "end")
        for worker in work.workers:
            work.tell(worker)
            work.claim(worker)
            work.publish(worker)
        work.pass_time(1.0)
        work.check()
