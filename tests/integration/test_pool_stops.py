"""However a worker ends, no call is lost and none hangs."""

import signal
import time

import pytest

from gateway.dev.process import ProcessError
from tests.integration.pool_rig import Rig, eventually


def test_a_warm_stop_sees_calls_through_and_gives_the_rest_back(rig: Rig) -> None:
    worker = rig.worker(concurrency=5, conf={"worker_prefetch_multiplier": 2})
    pending = [rig.send(sleep_s=1.5) for _ in range(20)]
    eventually(lambda: len(rig.happened("started")) == 5 and rig.unacked() == 10, "five run, five wait")
    worker.warm_stop()
    assert worker.wait(20) == 0
    started = rig.happened("started")
    assert rig.happened("ended") == started
    assert rig.happened("closed")
    assert len(started) == 5
    assert (rig.queued(), rig.unacked()) == (15, 0)
    rig.worker(concurrency=50)
    for result in pending:
        assert result.get(timeout=20)["status"] == 200
    rig.acknowledged()
    assert sorted(rig.happened("started")) == sorted(result.id for result in pending)


def test_acknowledgements_go_out_while_a_warm_stop_waits(rig: Rig) -> None:
    worker = rig.worker()
    rig.send(sleep_s=1)
    long = rig.send(sleep_s=6)
    eventually(lambda: len(rig.happened("started")) == 2, "both run")
    worker.warm_stop()
    eventually(lambda: rig.unacked() == 1, "the first is acknowledged before the second ends", 4)
    assert worker.exit_code is None
    assert long.get(timeout=15)["status"] == 200
    assert worker.wait(15) == 0
    assert rig.unacked() == 0


def test_a_warm_stop_gives_back_at_once_what_waits(rig: Rig) -> None:
    worker = rig.worker(concurrency=2, conf={"worker_prefetch_multiplier": 5})
    long = [rig.send(sleep_s=5) for _ in range(2)]
    eventually(lambda: len(rig.happened("started")) == 2, "two run")
    waiting = [rig.send() for _ in range(5)]
    later = rig.app.send_task("tests.total", args=[[]], countdown=60)
    eventually(lambda: rig.unacked() == 8, "the rest waits in the worker")
    began = time.monotonic()
    worker.warm_stop()
    eventually(lambda: rig.queued() == 6, "it is back in its queue")
    assert time.monotonic() - began < 2
    assert worker.exit_code is None
    rig.worker(arguments=("--prefetch-multiplier", "1"), concurrency=2)
    for result in waiting:
        assert result.get(timeout=4)["status"] == 200
    assert worker.exit_code is None
    for result in long:
        assert result.get(timeout=15)["status"] == 200
    assert worker.wait(15) == 0
    started = rig.happened("started")
    assert sorted(started) == sorted(result.id for result in [*long, *waiting])
    assert rig.unacked() == 1
    later.revoke()


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_cold_stop_is_prompt_and_the_calls_come_back(rig: Rig, stubborn: bool) -> None:
    worker = rig.worker()
    pending = [rig.send(sleep_s=2.5, stubborn=stubborn) for _ in range(4)]
    eventually(lambda: len(rig.happened("started")) == 4, "they run")
    began = time.monotonic()
    worker.cold_stop()
    worker.wait(20)
    assert time.monotonic() - began < (15 if stubborn else 5)
    assert sorted(rig.happened("cancelled")) == sorted(result.id for result in pending)
    assert not rig.happened("ended")
    assert (rig.queued(), rig.unacked()) == (4, 0)
    rig.worker()
    for result in pending:
        assert result.get(timeout=15)["status"] == 200
    rig.acknowledged()


def test_a_cold_stop_amid_a_warm_one(rig: Rig) -> None:
    worker = rig.worker()
    rig.send(sleep_s=60)
    eventually(lambda: rig.happened("started"), "it runs")
    worker.warm_stop()
    eventually(lambda: "waiting for 1 task" in worker.output(), "it drains")
    worker.cold_stop()
    worker.wait(15)
    assert (rig.queued(), rig.unacked()) == (1, 0)


def test_a_soft_shutdown_acknowledges_what_ends_in_its_time(rig: Rig) -> None:
    worker = rig.worker(concurrency=2, conf={"worker_soft_shutdown_timeout": 3.0, "worker_prefetch_multiplier": 2})
    short, long = rig.send(sleep_s=1.5), rig.send(sleep_s=60)
    rig.send()
    eventually(lambda: len(rig.happened("started")) == 2 and rig.unacked() == 3, "two run, one waits")
    worker.process.signal(signal.SIGQUIT)
    eventually(lambda: rig.unacked() == 2, "the short one is acknowledged while the long one has time", 3)
    worker.wait(20)
    assert short.get(timeout=5)["status"] == 200
    assert rig.happened("cancelled") == [long.id]
    assert len(rig.happened("started")) == 2, "nothing more is started"
    assert (rig.queued(), rig.unacked()) == (2, 0)


def test_a_soft_shutdown_ends_as_soon_as_nothing_runs(rig: Rig) -> None:
    worker = rig.worker(conf={"worker_soft_shutdown_timeout": 60.0})
    rig.send(sleep_s=1)
    eventually(lambda: rig.happened("started"), "it runs")
    worker.cold_stop()
    worker.wait(15)
    assert (rig.queued(), rig.unacked()) == (0, 0)


def test_the_loop_that_dies_ends_the_worker(rig: Rig) -> None:
    worker = rig.worker()
    rig.send(kill_loop=True)
    assert worker.wait(15) != 0
    assert (rig.queued(), rig.unacked()) == (1, 0)


def test_an_executor_that_cannot_start_refuses_the_worker(rig: Rig) -> None:
    worker = rig.worker(env={"POOL_REFUSE": "gateway.toml: no such file; write one"}, timeout=None)
    assert worker.wait(20) == 1
    assert "gateway.toml: no such file; write one" in worker.output()
    assert "Traceback" not in worker.output()


def test_a_broker_without_an_event_loop_is_refused(rig: Rig) -> None:
    worker = rig.worker(env={"POOL_BROKER": "memory://"}, timeout=None)
    assert worker.wait(20) == 1
    assert "the broker's transport has no event loop" in worker.output()


def test_another_pool_says_what_to_do(rig: Rig) -> None:
    try:
        rig.worker(concurrency=1, conf={"worker_pool": "threads", "worker_consumer": "celery.worker.consumer:Consumer"})
    except ProcessError as error:
        pytest.fail(str(error))
    with pytest.raises(Exception, match=r"runs in workers\.pool:AsyncioPool"):
        rig.send().get(timeout=10)
