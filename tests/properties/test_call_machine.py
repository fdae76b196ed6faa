"""Calls under any order of steps and faults: nothing is lost, nothing is sent twice by surprise, one outcome each."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from gateway.dev.valkey import Valkey
from tests.properties.call_run import Machine
from tests.properties.call_scripts import Scripts
from tests.properties.calls_at_work import Work


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    made = redis.Redis.from_url(server.url())
    yield made
    made.close()
    server.stop()


def _search(machine: type[RuleBasedStateMachine], *, share: int, steps: int) -> None:
    """With the profile's number of examples, or a part of it."""
    profile = settings.default
    assert profile is not None
    limits = settings(
        max_examples=max(1, profile.max_examples // share),
        stateful_step_count=steps,
        deadline=None,
        # To find a shorter way to a failure takes minutes; a look at a found one can ask for it.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=limits)


# A long look takes its time.
@pytest.mark.timeout(1800)
def test_the_machine_keeps_the_promises() -> None:
    _search(Machine, share=1, steps=50)


@pytest.mark.timeout(1800)
def test_the_scripts_are_the_machine(client: Any) -> None:
    _search(type("MachineOnTheServer", (Machine,), {"client": client}), share=3, steps=50)


@pytest.fixture
def work(client: Any) -> Work:
    made = Work(Scripts(client))
    made.submit("c", idempotent=False, lasts_s=500.0, copies=1)
    return made


def test_a_stale_token_gets_nothing(work: Work) -> None:
    slow, quick = work.hire(), work.hire()
    (message,) = work.queue
    first = work.deliver(message, slow)
    work.ask(first)
    work.send(first)
    work.end_attempt(first, "not sent", "again")
    work.tell(slow)
    slow.frozen = True
    work.redeliver(first.delivery)
    work.pass_time(11.0)
    (message,) = work.queue
    second = work.deliver(message, quick)
    work.ask(second)
    assert (second.phase, second.token) == ("going", 2)
    slow.frozen = False
    work.ask(first)
    assert first.phase == "leaving", "it is dropped"
    work.park(first)
    assert not work.fleet.lot
    work.renew(slow)
    assert first.lost is False, "it has left already, and is not renewed"
    assert work.fleet.record("c").lease == 2


def test_what_the_owner_before_did_is_told_again_when_the_answer_was_lost(work: Work) -> None:
    """The message is a second one, so that nothing else says that the call was begun before."""
    dead, heir = work.hire(), work.hire()
    work.queue *= 2
    first = work.deliver(work.queue[0], dead)
    work.ask(first)
    work.send(first)
    work.die(dead)
    work.pass_time(11.0)
    second = work.deliver(work.queue[0], heir)
    work.ask(second, fault="answer lost", waits=True)
    work.ask(second)
    assert second.phase == "settled", "it may have been executed, and is not sent again"
    assert second.maybe


def test_who_parks_without_a_lease_passes_on_that_an_attempt_was_cut_off(work: Work) -> None:
    slow, dead, heir = work.hire(), work.hire(), work.hire()
    first = work.deliver(work.queue[0], slow)
    work.ask(first, fault="away")
    work.redeliver(first.delivery)
    second = work.deliver(work.queue[0], dead)
    work.ask(second)
    work.send(second)
    work.die(dead)
    slow.frozen = True
    work.pass_time(11.0)
    slow.frozen = False
    assert first.phase == "holding"
    work.park(first)
    work.claim(heir)
    work.publish(heir)
    third = work.deliver(work.queue[0], heir)
    work.ask(third)
    assert (third.phase, third.maybe) == ("settled", True), "it may have been executed, and is not sent again"


def test_who_parks_without_the_answer_passes_on_what_it_said_of_the_owner_before(work: Work) -> None:
    dead, heir = work.hire(), work.hire()
    work.queue *= 2
    first = work.deliver(work.queue[0], dead)
    work.ask(first)
    work.send(first)
    work.die(dead)
    work.pass_time(11.0)
    second = work.deliver(work.queue[0], heir)
    work.ask(second, fault="answer lost")
    assert second.phase == "holding"
    work.park(second)
    work.claim(heir)
    work.publish(heir)
    third = work.deliver(work.queue[0], heir)
    work.ask(third)
    assert (third.phase, third.maybe) == ("settled", True), "it may have been executed, and is not sent again"


def test_what_is_left_of_a_call_whose_record_was_lost_is_remembered(work: Work) -> None:
    dead, heir, last = work.hire(), work.hire(), work.hire()
    first = work.deliver(work.queue[0], dead)
    work.ask(first)
    work.send(first)
    work.lose("c")
    work.die(dead)
    work.redeliver(first.delivery)
    second = work.deliver(work.queue[0], heir)
    work.ask(second)
    assert (second.phase, second.maybe) == ("settled", True)
    work.redeliver(second.delivery)
    work.die(heir)
    work.pass_time(11.0)
    third = work.deliver(work.queue[0], last)
    work.ask(third)
    assert (third.phase, third.maybe) == ("settled", True), "the one before it had only been told so"


def test_who_never_had_the_lease_does_not_drop_the_last_message(work: Work) -> None:
    dead, heir = work.hire(), work.hire()
    first = work.deliver(work.queue[0], dead)
    work.ask(first)
    work.die(dead)
    work.redeliver(first.delivery)
    second = work.deliver(replace(first.message, redelivered=True), heir)
    second.phase = "holding"  # as an idempotent call that was tried while Redis was away
    work.park(second)
    assert [one.phase for one in work.executions] == ["elsewhere"]
    work.postpone(second)
    work.ack(second)
    work.check()


def test_a_parking_that_was_taken_back_leaves_the_message_before_it(work: Work) -> None:
    """Its worker has the outcome, and dies before it is stored."""
    dead, heir = work.hire(), work.hire()
    work.submit("other", idempotent=True, lasts_s=500.0, copies=1)
    work.switch(breaker_open=True)
    first, other = (work.deliver(message, dead) for message in list(work.queue))
    work.ask(first)
    work.ask(other)
    for fault in ("answer lost", "away", "away"):
        work.park(first, fault=fault)
    assert first.phase == "settled"
    work.park(other)
    assert list(work.fleet.lot) == ["other"]
    work.die(dead)
    work.redeliver(first.delivery)
    work.pass_time(11.0)
    work.switch(breaker_open=False)
    second = work.deliver(next(message for message in work.queue if message.call == "c"), heir)
    work.ask(second)
    assert second.phase == "going"
