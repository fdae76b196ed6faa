"""The Redis that carries the calls, and the one that holds their results."""

import signal
import time

import redis

from gateway.dev.valkey import Valkey
from gateway.errors import DeadlineExceededError
from tests.faults.fleet import eventually
from tests.faults.matrix.fault import fault
from tests.faults.matrix.scene import Scene


@fault("redis kill -9, restart from AOF", brokers=("redis",), append_only=True, refuses=True, unknown=True)
def kill_redis(scene: Scene) -> None:
    _settle(scene)
    scene.fleet.broker.process.kill()
    time.sleep(2.0)
    scene.fleet.broker.restart()
    scene.slow(0.05)
    scene.traffic.resume()


@fault(
    "broker redis kill -9, restart from AOF, results apart",
    brokers=("redis",),
    apart=True,
    append_only=True,
    refuses=True,
)
def kill_broker(scene: Scene) -> None:
    _settle(scene)
    scene.fleet.broker.process.kill()
    time.sleep(2.0)
    scene.fleet.broker.restart()
    scene.slow(0.05)
    scene.traffic.resume()


@fault("redis stopped for 30 s", brokers=("redis",), refuses=True, unknown=True, deadline_s=75.0)
def freeze_redis(scene: Scene) -> None:
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 10, timeout=15, what="that calls run")
    scene.fleet.broker.process.signal(signal.SIGSTOP)
    time.sleep(30.0)
    scene.fleet.broker.process.signal(signal.SIGCONT)
    scene.slow(0.05)


@fault("redis out of memory, noeviction", brokers=("redis",), refuses=True, unknown=True)
def out_of_memory(scene: Scene) -> None:
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 10, timeout=15, what="that calls run")
    _limit(scene.fleet.broker, "1mb")
    time.sleep(10.0)
    assert scene.traffic.refused(), "no submit was refused: the memory was not short"
    _limit(scene.fleet.broker, "0")
    scene.slow(0.05)


@fault("result redis out of memory, noeviction", apart=True, refuses=True, unknown=True)
def results_out_of_memory(scene: Scene) -> None:
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 10, timeout=15, what="that calls run")
    _limit(scene.fleet.store, "1mb")
    time.sleep(10.0)
    assert scene.traffic.refused(), "no submit was refused: the memory was not short"
    _limit(scene.fleet.store, "0")
    scene.slow(0.05)


@fault(
    "result store down for 60 s",
    apart=True,
    append_only=True,
    refuses=True,
    deadline_s=90.0,
    errors=(DeadlineExceededError,),
    timeout_s=400.0,
)
def results_down(scene: Scene) -> None:
    _settle(scene)
    scene.fleet.store.process.kill()
    scene.traffic.resume()
    time.sleep(60.0)
    assert scene.traffic.refused(), "no submit was refused while the store was down"
    scene.fleet.store.restart()
    scene.slow(0.05)


@fault("result store cut off from the workers for 20 s", apart=True, linked=True)
def results_cut_off(scene: Scene) -> None:
    """Producers still reach it, so calls are accepted meanwhile."""
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 10, timeout=15, what="that calls run")
    assert scene.links.worker_store.reset(refuse=True) > 0
    time.sleep(20.0)
    scene.links.worker_store.let_go()
    scene.slow(0.05)


def _settle(scene: Scene) -> None:
    """Calls run, and everything that was said about them is on the disk: what the last second wrote may be lost."""
    scene.slow(4.0)
    eventually(lambda: scene.traffic.open() > 60, timeout=30, what="that calls run")
    scene.traffic.pause()
    scene.all_taken()
    time.sleep(1.2)
    assert scene.traffic.open() > 10, "no call runs any more"


def _limit(server: Valkey, size: str) -> None:
    with redis.Redis.from_url(server.url()) as client:
        client.config_set("maxmemory", size)
