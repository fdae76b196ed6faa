"""Disk, file descriptors and memory, used up."""

import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from gateway.errors import ServiceUnavailableError
from tests.faults.fleet import eventually
from tests.faults.matrix.fault import fault
from tests.faults.matrix.scene import Scene
from tests.faults.memory_bound import MemoryBound
from tests.faults.small_disk import SmallDisk, fill
from tests.servers.producer import Producer

_FULL_S = 10.0
#: A process has more from its start: so none is given out again that it closes.
_FEW_DESCRIPTORS = 5


@fault("disk full under redis' append-only file", brokers=("redis",), append_only=True, refuses=True, attempts=1)
def disk_full(scene: Scene) -> None:
    broker = scene.fleet.broker
    scene.traffic.pause()
    eventually(lambda: scene.traffic.open() == 0, timeout=30, what="that all calls end")
    broker.stop()
    folder = scene.fleet.folder / "disk"
    folder.mkdir()
    disk = SmallDisk(folder, megabytes=24)
    try:
        shutil.copytree(broker.folder, folder, dirs_exist_ok=True)
        broker.folder = folder
        broker.restart()
    finally:
        disk.detach()
    scene.traffic.resume()
    since = time.monotonic()
    eventually(lambda: scene.traffic.replies(since=since) > 20, timeout=30, what="that calls flow again")
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 10, timeout=15, what="that calls run")
    # The server's own view of the disk, which nobody else has any more.
    ballast = fill(Path(f"/proc/{broker.process.pid}/cwd"))
    eventually(lambda: _says_misconf(broker.url()), timeout=10, what="that redis cannot write")
    time.sleep(_FULL_S)
    ballast.unlink()
    scene.slow(0.05)


@fault("file descriptors exhausted in a worker", workers=1, errors=(ServiceUnavailableError,), attempts=1)
def worker_descriptors(scene: Scene) -> None:
    """No connection to the service can be made; those that are open go on."""
    (worker,) = scene.fleet.workers
    with _no_descriptors(worker.pid):
        # More calls at once than there are connections.
        scene.slow(0.5)
        began = time.monotonic()
        time.sleep(8.0)
        scene.slow(0.05)
    assert worker.exit_code is None, f"the worker ended with {worker.exit_code}"
    bitten = [call for call in list(scene.traffic.made) if call.error is not None and call.submitted >= began]
    assert bitten, "no call needed a descriptor"


@fault(
    "file descriptors exhausted in a worker, and the broker resets",
    linked=True,
    workers=1,
    errors=(ServiceUnavailableError,),
    attempts=1,
)
def worker_descriptors_reset(scene: Scene) -> None:
    """It cannot connect again. Should it give up, it ends, and is started again as an orchestrator does."""
    (worker,) = scene.fleet.workers
    with _no_descriptors(worker.pid):
        scene.slow(0.5)
        time.sleep(2.0)
        scene.links.worker_broker.reset()
        time.sleep(6.0)
        scene.slow(0.05)
    if worker.exit_code is not None:
        scene.fleet.workers.remove(worker)
        scene.fleet.start(1)


@fault("file descriptors exhausted in a producer", linked=True, refuses=True, attempts=1)
def producer_descriptors(scene: Scene) -> None:
    """It may be refused; the other producer may not."""
    with _producer(scene) as producer, _no_descriptors(producer.pid):
        scene.links.producer_broker.reset()
        scene.links.producer_store.reset()
        time.sleep(8.0)
        # The links are those of the other producer too, which gets over it at once.


@fault("worker killed for its memory", unknown=True, attempts=2)
def out_of_memory(scene: Scene) -> None:
    scene.slow(2.0)
    eventually(lambda: scene.traffic.open() > 20, timeout=15, what="that calls run")
    victim = scene.fleet.workers[0]
    with MemoryBound(more_kb=256) as bound:
        bound.hold(victim.pid)
        ends = time.monotonic() + 30.0
        while victim.exit_code is None:
            assert time.monotonic() < ends, "the worker needs no more memory"
            time.sleep(0.05)
    assert victim.exit_code == -signal.SIGKILL
    scene.fleet.workers.remove(victim)
    scene.slow(0.05)


def _says_misconf(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            client.set("probe", "x" * 4096, ex=1)
        except redis.ResponseError as error:
            return "MISCONF" in str(error)
    return False


@contextmanager
def _no_descriptors(pid: int) -> Iterator[None]:
    """No new ones for the time of the block; those that are open stay."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (_FEW_DESCRIPTORS, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def _producer(scene: Scene) -> Iterator[Producer]:
    settings, folder = scene.fleet.settings, scene.fleet.folder
    deadline_s = scene.fault.deadline_s
    producer = Producer(folder, settings, below="/traffic/apart", rate=scene.fault.rate, deadline_s=deadline_s)
    try:
        yield producer
        scene.over()
        eventually(lambda: scene.traffic.replies(since=scene.over_at) > 20, timeout=30, what="that calls flow")
        made = producer.finish(deadline_s + 60.0)
    finally:
        producer.stop()
    scene.traffic.include(made)
