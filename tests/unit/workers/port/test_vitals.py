"""What a worker's health says, by a clock that the test turns."""

from collections.abc import Callable

import pytest

from workers.port.vitals import HUB_HUNG_S, HUB_SLOW_S, HUNG_S, Vitals


class Patient:
    """A worker that answers when it is told to."""

    def __init__(self) -> None:
        self.is_started = self.is_connected = True
        self.is_stopping = self.is_store_away = False
        self.loop: list[Callable[[], object]] = []
        self.hub: list[Callable[[], object]] = []
        self.now = 100.0

    def look_at_store(self) -> None:
        """It is what the test says."""

    def ask_loop(self, answer: Callable[[], object]) -> None:
        self.loop.append(answer)

    def ask_hub(self, answer: Callable[[], object]) -> None:
        self.hub.append(answer)

    def answer(self, *, loop: bool = True, hub: bool = True) -> None:
        for asked, does in ((self.loop, loop), (self.hub, hub)):
            while does and asked:
                asked.pop()()


@pytest.fixture
def patient() -> Patient:
    return Patient()


@pytest.fixture
def vitals(patient: Patient) -> Vitals:
    return Vitals(patient, lambda: patient.now)


def test_it_lives_and_is_ready(patient: Patient, vitals: Vitals) -> None:
    for _ in range(100):
        vitals.look()
        patient.now += 0.25
        patient.answer()
    assert vitals.not_alive() == vitals.not_ready() == []
    assert vitals.loop.lag_s == 0.25


def test_the_lag_is_the_worst_of_half_a_minute_and_grows_while_it_hangs(patient: Patient, vitals: Vitals) -> None:
    said = []
    for second in range(40):
        vitals.look()
        patient.now += 0.75 if second == 1 else 0.25
        patient.answer()
        patient.now += 0.25 if second == 1 else 0.75
        said.append(vitals.loop.lag_s)
    assert said == [0.25] + [0.75] * 30 + [0.25] * 9
    vitals.look()
    patient.now += 7.0
    assert vitals.loop.lag_s == 7.0, "who has not answered yet is late already"


@pytest.mark.parametrize(
    ("loop", "hub", "why", "bound_s"),
    [(False, True, "the loop of the calls", HUNG_S), (True, False, "the thread that takes messages", HUB_HUNG_S)],
)
def test_a_thread_that_hangs(patient: Patient, vitals: Vitals, loop: bool, hub: bool, why: str, bound_s: float) -> None:
    vitals.look()
    patient.now += bound_s
    patient.answer(loop=loop, hub=hub)
    assert vitals.not_alive() == []
    for _ in range(3):
        patient.answer(loop=loop, hub=hub)
        vitals.look()
        patient.now += 1.0
    (said,) = vitals.not_alive()
    assert said.startswith(f"{why} has not turned for {bound_s + 3:.0f} s")
    assert vitals.not_ready() == [said]
    patient.answer()
    assert vitals.not_alive() == []


def test_a_worker_that_waits_for_its_broker_lives_and_is_not_ready(patient: Patient, vitals: Vitals) -> None:
    vitals.look()
    patient.is_connected = False
    for _ in range(60):
        patient.answer(hub=False)
        vitals.look()
        patient.now += 1.0
    assert vitals.not_alive() == []
    assert vitals.not_ready() == ["it is not connected to the broker"]
    patient.is_connected = True
    vitals.look()
    patient.now += HUNG_S - 1
    assert vitals.not_alive() == [], "it has its time from the first question that it can hear"


def test_a_broker_that_stalls_makes_it_unready_and_is_no_reason_to_end_it(patient: Patient, vitals: Vitals) -> None:
    vitals.look()
    patient.now += HUB_SLOW_S + 1
    patient.answer(hub=False)
    assert vitals.not_alive() == []
    assert vitals.not_ready() == ["it has taken no messages for 6 s: it waits for the broker"]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"is_stopping": True}, "it is stopping"),
        ({"is_started": False}, "it is starting"),
        ({"is_store_away": True}, "the result store does not answer"),
    ],
)
def test_why_it_takes_no_calls(patient: Patient, vitals: Vitals, state: dict[str, bool], why: str) -> None:
    for name, value in state.items():
        setattr(patient, name, value)
    assert vitals.not_alive() == []
    (said,) = vitals.not_ready()
    assert said.startswith(why)
