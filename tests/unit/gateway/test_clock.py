"""Fleet time, with clocks that the test sets."""

import gc

import pytest

from gateway import clock as clock_module
from gateway.clock import FleetClock, process_time


class Host:
    """A host whose clocks are what the test says."""

    def __init__(self) -> None:
        self.time = 5000.0
        self.ticks = 100.0
        self.clock = FleetClock(wall=lambda: self.time, monotonic=lambda: self.ticks)

    def passes(self, seconds: float) -> None:
        self.time += seconds
        self.ticks += seconds

    def hears(self, redis_time: float, took: float = 0.002) -> None:
        """An answer that was read now; the server's clock stood at `redis_time` halfway."""
        self.clock.observe(redis_time, self.ticks - took, self.ticks)


@pytest.fixture
def host() -> Host:
    return Host()


def test_before_the_first_answer_it_is_the_hosts_own(host: Host) -> None:
    assert (host.clock.now(), host.clock.offset_s, host.clock.is_sure) == (5000.0, 0.0, False)
    assert repr(host.clock) == "<FleetClock the host's own>"


@pytest.mark.parametrize("ahead", [-3600.0, 0.0, 3600.0])
def test_after_it_it_is_the_servers(host: Host, ahead: float) -> None:
    host.hears(5000.0 + ahead, took=0.002)
    assert host.clock.now() == pytest.approx(5000.0 + ahead + 0.001)
    assert host.clock.offset_s == pytest.approx(ahead + 0.001)
    assert host.clock.is_sure
    host.passes(10.0)
    assert host.clock.now() == pytest.approx(5010.0 + ahead + 0.001)
    assert repr(host.clock) == f"<FleetClock {ahead + 0.001:+.3f} s, off by 0.0110 s at most>"


def test_the_shortest_round_trip_tells_best(host: Host) -> None:
    host.hears(5000.0, took=0.002)
    host.passes(1.0)
    host.hears(5000.502, took=0.5)  # the answer waited, not the question
    assert host.clock.now() == pytest.approx(5001.001)
    host.passes(1.0)
    host.hears(5002.0005, took=0.001)
    assert host.clock.now() == pytest.approx(5002.001)


def test_what_is_old_gives_way_so_that_drift_is_followed(host: Host) -> None:
    host.hears(5000.0, took=0.002)
    server = 5000.0
    for _ in range(1000):
        host.passes(1.0)
        server += 1.0002  # 200 ppm
        host.hears(server, took=0.02)
    assert host.clock.now() == pytest.approx(server + 0.01, abs=0.01)


def test_another_server_with_another_time_is_believed(host: Host) -> None:
    host.hears(5000.0, took=0.002)
    host.passes(1.0)
    host.hears(4000.0, took=0.3)
    assert host.clock.now() == pytest.approx(4000.15)


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_wall_clock_that_is_set_is_noticed(host: Host, step: float) -> None:
    host.hears(5000.0)
    host.time += step
    assert not host.clock.is_sure
    assert host.clock.now() == pytest.approx(5000.001), "it stands by what it was told"
    host.hears(5000.0, took=0.1)
    assert host.clock.is_sure


def test_a_host_that_slept_is_noticed(host: Host) -> None:
    host.hears(5000.0)
    host.time += 3600.0  # and the monotonic clock stood still
    assert not host.clock.is_sure
    host.hears(8600.0, took=0.1)
    assert host.clock.now() == pytest.approx(8600.05)
    assert host.clock.is_sure


def test_after_an_hour_without_an_answer_it_is_not_sure(host: Host) -> None:
    host.hears(5000.0)
    host.passes(3599.0)
    assert host.clock.is_sure
    host.passes(1.0)
    assert not host.clock.is_sure


def test_a_process_reckons_with_the_clock_that_learned_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module, "_told", None)
    monkeypatch.setattr("time.time", lambda: 7.0)
    assert process_time() == 7.0
    host = Host()
    host.hears(9000.0)
    assert process_time() == pytest.approx(9000.001)
    del host
    gc.collect()
    assert process_time() == 7.0


@pytest.mark.parametrize("set_by", [-3600.0, 3600.0])
def test_a_slow_answer_does_not_replace_a_good_one_because_the_host_was_set(host: Host, set_by: float) -> None:
    host.hears(5000.0, took=0.002)
    host.time += set_by
    host.passes(9.0)
    host.hears(5005.0, took=4.0)  # it waited on its way back
    assert host.clock.now() == pytest.approx(5009.001)
    assert host.clock.is_sure


def test_a_slow_answer_counts_if_the_host_slept(host: Host) -> None:
    host.hears(5000.0, took=0.002)
    host.time += 60.0  # the monotonic clock stood still meanwhile
    assert not host.clock.is_sure
    host.passes(4.0)
    host.hears(5062.0, took=4.0)
    assert host.clock.now() == pytest.approx(5064.0)
    assert host.clock.is_sure
