"""A fleet of real workers on a broker of its own, and a gateway that enqueues for them."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import redis
from kombu import Connection

from gateway import Catalogue, Gateway, Settings
from gateway.dev.process import ProcessError
from gateway.dev.rabbitmq import RabbitMQ
from gateway.dev.valkey import Valkey
from gateway.records import key_of
from gateway.routing import queue_of
from tests.faults.links import Links, through
from tests.servers.worker import Worker

__all__ = ["BrokerKind", "Fleet", "eventually"]

BrokerKind = Literal["redis", "rabbitmq"]


def eventually(condition: Callable[[], object], *, timeout: float, what: str = "the condition") -> None:
    """Wait until it holds.

    Raises:
        AssertionError: it did not within `timeout` seconds.
    """
    ends = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < ends, f"{what} did not hold within {timeout:g} s"
        time.sleep(0.02)


class Fleet:
    """A broker for calls, Valkey for results, and workers; all stopped by their process ids.

    Args:
        folder: takes logs and the catalogue.
        catalogue: the text of `gateway.toml`.
        environment: what its variables stand for.
        workers: how many.
        concurrency: calls at once in each.
        apart: whether results and the fleet's state are on a server of their own, so that it can be taken away.
        kind: of broker; with RabbitMQ the results are apart always.
        rabbitmq: one that runs, on which this fleet has a virtual host of its own; by default it starts one.
        linked: whether all connections go through proxies, see `Links`.
        append_only: whether what the servers hold survives their death.
        app: import path of the workers' app.
    """

    #: A Valkey or a RabbitMQ: both know `url()`, `stop()` and `restart()`.
    broker: Any

    def __init__(
        self,
        folder: Path,
        catalogue: str,
        environment: Mapping[str, str],
        *,
        workers: int,
        concurrency: int = 300,
        apart: bool = False,
        kind: BrokerKind = "redis",
        rabbitmq: RabbitMQ | None = None,
        linked: bool = False,
        append_only: bool = False,
        app: str = "workers.app",
    ) -> None:
        self.folder = folder
        self.config = folder / "gateway.toml"
        self.config.write_text(catalogue)
        self.kind = kind
        self.app = app
        self._shared = rabbitmq if kind == "rabbitmq" else None
        self._vhost = "/"
        if kind == "redis":
            self.broker = _valkey(folder / "broker", append_only)
        elif rabbitmq is None:
            self.broker = _rabbitmq(folder / "broker")
        else:
            self.broker = rabbitmq
            self._vhost = rabbitmq.new_vhost()
        own_store = apart or kind == "rabbitmq"
        self.store: Valkey = _valkey(folder / "store", append_only) if own_store else self.broker
        #: Past all proxies.
        self.broker_url: str = self.broker.url() if kind == "redis" else self.broker.url(self._vhost)
        store_url = self.store.url(1)
        self.links = Links(self.broker_url, store_url) if linked else None
        own = {
            "GATEWAY_BROKER_URL": self.broker_url,
            "GATEWAY_RESULT_URL": store_url,
            "GATEWAY_CONFIG": str(self.config),
        }
        self.environment = {**environment, **own}
        if self.links is not None:
            self.environment["GATEWAY_BROKER_URL"] = through(self.broker_url, self.links.worker_broker.port)
            self.environment["GATEWAY_RESULT_URL"] = through(store_url, self.links.worker_store.port)
            own["GATEWAY_BROKER_URL"] = through(self.broker_url, self.links.producer_broker.port)
            own["GATEWAY_RESULT_URL"] = through(store_url, self.links.producer_store.port)
        self.settings = Settings.from_env(own)
        self.gateway = Gateway(self.settings, Catalogue.load(self.config))
        self.redis: Any = redis.Redis.from_url(store_url, decode_responses=True)
        self.workers: list[Worker] = []
        try:
            self.start(workers, concurrency=concurrency)
        except ProcessError:
            self.close()
            raise

    def start(
        self, count: int, *, concurrency: int = 300, environment: Mapping[str, str] | None = None
    ) -> list[Worker]:
        """Start more workers, side by side, and wait until they are ready; `environment` is for these alone."""
        started = self.launch(count, concurrency=concurrency, environment=environment)
        for worker in started:
            worker.process.wait_until(partial(_is_ready, worker), timeout=60)
        return started

    def launch(
        self, count: int, *, concurrency: int = 300, environment: Mapping[str, str] | None = None
    ) -> list[Worker]:
        """`start` without waiting."""
        env = {**self.environment, **(environment or {})}
        started = [Worker(self.app, self.folder, env=env, concurrency=concurrency, timeout=None) for _ in range(count)]
        self.workers += started
        return started

    def kill(self, worker: Worker) -> None:
        """SIGKILL."""
        worker.kill()
        self.workers.remove(worker)

    def freeze(self) -> None:
        """Stop the time of all workers: SIGSTOP."""
        for worker in self.workers:
            worker.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for worker in self.workers:
            worker.process.signal(signal.SIGCONT)

    def record(self, call_id: str) -> dict[str, str]:
        """What the fleet knows of a call beside its outcome."""
        fields: dict[str, str] = self.redis.hgetall(key_of(call_id))
        return fields

    def owner(self, call_id: str) -> Worker | None:
        """The worker that has, or had, a call; None: no worker of this fleet that runs."""
        _, _, pid = self.record(call_id).get("worker", "").rpartition(":")
        return next((worker for worker in self.workers if str(worker.pid) == pid), None)

    def end_leases(self, call_ids: Iterable[str]) -> None:
        """As if so much time had passed that no worker has these calls any more."""
        with self.redis.pipeline() as pipe:
            for call_id in call_ids:
                pipe.hset(key_of(call_id), "lease_until", 0)
            pipe.execute()

    def stored(self, call_id: str) -> dict[str, Any] | None:
        """The outcome that a worker stored, as Celery has it; None: none."""
        raw = self.redis.get(f"celery-task-meta-{call_id}")
        return None if raw is None else json.loads(raw)

    def breaker(self, service: str) -> dict[str, str]:
        """The breaker's state, with `phase` given a value always."""
        fields: dict[str, str] = self.redis.hgetall(f"gateway:breaker:{service}")
        return {"phase": "closed", **fields}

    def parked(self, service: str) -> int:
        """How many of its calls wait outside the workers."""
        count: int = self.redis.zcard(f"gateway:parked:{service}")
        return count

    def places_taken(self, service: str) -> int:
        """How many attempts count as on the wire."""
        count: int = self.redis.zcard(f"gateway:inflight:{service}")
        return count

    def waiting(self, service: str) -> int:
        """How many messages are in its queue."""
        if self.kind == "rabbitmq":
            with Connection(self.broker_url) as connection:
                channel: Any = connection.default_channel
                return int(channel.queue_declare(queue_of(service), passive=True).message_count)
        with redis.Redis.from_url(self.broker_url) as broker:
            count: Any = broker.llen(queue_of(service))
        return int(count)

    def blocked(self, service: str) -> bool:
        """Whether it was learned from the service's own limit that it wants no calls now."""
        return float(self.redis.hget(f"gateway:limit:{service}", "blocked_until") or 0) > time.time()

    def unacknowledged(self) -> list[str]:
        """Delivery tags of the messages on Redis that workers have, or had when they were killed."""
        with redis.Redis.from_url(self.broker_url, decode_responses=True) as broker:
            tags: Any = broker.zrange("unacked_index", 0, -1)
        return list(tags)

    def unacknowledged_count(self) -> int:
        """How many messages workers have, or had when they were killed."""
        if self.kind == "redis":
            return len(self.unacknowledged())
        infos = f'rabbit_amqqueue:info_all(<<"{self._vhost}">>, [messages_unacknowledged])'
        return int(self.broker.ask(f"lists:sum([N || [{{messages_unacknowledged, N}}] <- {infos}])"))

    def redeliver(self) -> int:
        """Give every unacknowledged message back to its queue, as kombu does when its visibility timeout has passed."""
        tags = self.unacknowledged()
        with self.gateway.celery.connection_for_write() as connection:
            channel: Any = connection.default_channel
            for tag in tags:
                channel.qos.restore_by_tag(tag)
        return len(tags)

    def rss_mb(self) -> list[float]:
        """Resident memory of each worker, in MB."""
        return [_rss_kb(worker.pid) / 1024 for worker in self.workers]

    def cpu_s(self) -> list[float]:
        """Processor time that each worker has used so far."""
        return [_cpu_s(worker.pid) for worker in self.workers]

    def close(self) -> None:
        """Stop all of it."""
        self.thaw()
        self.gateway.close()
        self.redis.close()
        for worker in self.workers:
            # What is left in the queues is nobody's: there is nothing to see through.
            worker.kill()
        if self.links is not None:
            self.links.close()
        self.store.stop()
        if self._shared is None:
            self.broker.stop()
        else:
            self._shared.drop_vhost(self._vhost)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Fleet {len(self.workers)} workers {self.settings!r}>"


def _valkey(folder: Path, append_only: bool) -> Valkey:
    folder.mkdir()
    return Valkey(folder, append_only=append_only)


def _rabbitmq(folder: Path) -> RabbitMQ:
    folder.mkdir()
    return RabbitMQ(folder)


def _is_ready(worker: Worker) -> bool:
    return f"{worker.name} ready." in worker.output()


def _rss_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no memory: it has ended")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
