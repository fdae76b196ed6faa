"""Everything that a call needs, on free loopback ports: Valkey, the demo user service, one worker and Flower."""

import json
import os
import re
import secrets
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self

from celery import Celery

from gateway.dev.flower import Flower
from gateway.dev.guard import Guard
from gateway.dev.interrupts import Interrupts
from gateway.dev.process import Process, ProcessError
from gateway.dev.rabbitmq import RabbitMQ
from gateway.dev.valkey import Valkey

__all__ = ["Stack", "StackError", "find_checkout"]

_START_S = 60.0
_STOP_S = 5.0
_FLOWER_ADDRESS = re.compile(r"Visit me at (http://\S+?)/?\s")


class StackError(RuntimeError):
    """The stack cannot be started here; says why and the cure."""


def find_checkout() -> Path:
    """The folder of the source checkout: the demo service, its catalogue and Flower's configuration are in no wheel.

    Raises:
        StackError: this package was not installed from one.
    """
    root = Path(__file__).resolve().parents[2]
    for needed in ("examples/user_service/__main__.py", "examples/gateway.toml", "flowerconfig.py"):
        if not (root / needed).is_file():
            raise StackError(f"{root} has no {needed}; run this in a checkout of the project, installed with `make`")
    return root


class Stack:
    """Started when entered, and stopped in the reverse order when left.

    What it starts is in sessions of its own, known by process id, and ended by a guard should this process be killed.
    Logs and data are in a temporary folder, which is kept when the block ends with an error that is no interruption.

    Args:
        interrupts: held off while a child is started, so that none is forgotten.
        concurrency: calls at once in the worker.
        rabbitmq: carry the calls on a RabbitMQ of its own, from the system's packages, in the place of Valkey.

    Attributes:
        folder: takes logs and data.
        kept: whether the folder is still there after a failure.
        environ: what producers need, and what the worker was started with.
        processes: by the order of their start.
        flower: with a login that is new for each run.
    """

    def __init__(self, *, interrupts: Interrupts | None = None, concurrency: int = 300, rabbitmq: bool = False) -> None:
        self._rabbitmq = rabbitmq
        self._root = find_checkout()
        self._interrupts = interrupts
        self._concurrency = concurrency
        self._guard: Guard | None = None
        self._closed_port: socket.socket | None = None
        self.folder = Path()
        self.kept = False
        self.environ: dict[str, str] = {}
        self.processes: list[Process] = []
        self.flower = Flower("", f"gateway:{secrets.token_urlsafe(12)}")

    def start(self) -> Self:
        """Start all and wait until they answer.

        Raises:
            ProcessError: one of them did not start; has the end of its log. What had started is stopped.
        """
        try:
            self._start()
        except BaseException as error:
            self.stop(keep=not isinstance(error, KeyboardInterrupt))
            raise
        return self

    def _start(self) -> None:
        with self._hold():
            self._guard = Guard()
            self.folder = Path(tempfile.mkdtemp(prefix="call-gateway-"))
            self._guard.watch(self.folder)
        with self._hold():
            valkey = Valkey(self.folder, guard=self._guard)
            self.processes.append(valkey.process)
        caller_key = secrets.token_urlsafe(32)
        self.environ = {
            "GATEWAY_BROKER_URL": self._start_rabbitmq() if self._rabbitmq else valkey.url(0),
            "GATEWAY_RESULT_URL": valkey.url(0),
            "GATEWAY_CONFIG": str(self._root / "examples" / "gateway.toml"),
            "GATEWAY_CALLER": "demo",
            "GATEWAY_CALLER_KEY": caller_key,
            "DEMO_CALLER_KEY": caller_key,
            "INTERNAL_API_KEY": secrets.token_urlsafe(24),
            "DEMO_WRONG_KEY": secrets.token_urlsafe(24),
            "DEMO_CLOSED_URL": self._closed_url(),
        }
        service = self._spawn("user-service", "-m", "examples.user_service", "--rest-port", "0", "--grpc-port", "0")
        service.wait_until(lambda: self._addresses(service) is not None, timeout=_START_S)
        addresses = self._addresses(service) or {}
        self.environ |= {
            "USER_SERVICE_URL": addresses["rest"],
            "USER_SERVICE_GRAPHQL_URL": addresses["graphql"],
            "USER_SERVICE_GRPC_TARGET": addresses["grpc"],
        }
        worker = self._spawn(
            "worker",
            *("-m", "celery", "-A", "workers.app", "worker"),
            # It is alone: looking for other workers would take a second.
            *("--without-mingle", "--without-gossip"),
            *("--hostname=demo@%h", "--loglevel=INFO", "--task-events", f"--concurrency={self._concurrency}"),
        )
        worker.wait_until(self._worker_answers, timeout=_START_S)
        # After the worker: Flower asks the workers for their queues once, when it starts.
        self._start_flower()

    def restart_flower(self) -> None:
        """Stop Flower in good order, and start it again, with a new address."""
        running = next(process for process in self.processes if process.name == "flower")
        running.stop()
        self.processes.remove(running)
        self._start_flower()

    def _start_flower(self) -> None:
        log = self.folder / "flower.log"
        before = len(_FLOWER_ADDRESS.findall(log.read_text())) if log.exists() else 0
        flower = self._spawn(
            "flower",
            *("-m", "celery", "-A", "workers.app", "flower"),
            *(f"--conf={self._root / 'flowerconfig.py'}", "--address=127.0.0.1", "--port=0"),
        )
        # Its log has one address for each start.
        flower.wait_until(lambda: len(_FLOWER_ADDRESS.findall(flower.output())) > before, timeout=_START_S)
        self.flower.url = _FLOWER_ADDRESS.findall(flower.output())[-1]
        flower.wait_until(self.flower.follows_a_worker, timeout=_START_S)

    def _start_rabbitmq(self) -> str:
        folder = self.folder / "rabbitmq"
        folder.mkdir()
        with self._hold():
            try:
                rabbitmq = RabbitMQ(folder, guard=self._guard)
            except FileNotFoundError as error:
                raise StackError(str(error)) from None
            self.processes += [rabbitmq.epmd, rabbitmq.process]
        return rabbitmq.url()

    def _spawn(self, name: str, *argv: str) -> Process:
        with self._hold():
            process = Process(
                name,
                [sys.executable, *argv],
                log=self.folder / f"{name}.log",
                env=self._child_environ(name),
                cwd=self._root,
                guard=self._guard,
            )
            self.processes.append(process)
            return process

    def _child_environ(self, name: str) -> Mapping[str, str]:
        """What this process was started with, without what would lead a child to somebody else's servers."""
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_", "CELERY_", "FLOWER_"))
        }
        # The worker alone needs all: no other process is given a secret that it has no use for.
        needed = {
            key: value
            for key, value in self.environ.items()
            if name == "worker"
            or (name == "flower" and key.startswith("GATEWAY_"))
            or (name == "user-service" and key == "INTERNAL_API_KEY")
        }
        if name == "flower":
            needed |= {"FLOWER_BASIC_AUTH": self.flower.login, "FLOWER_DB": str(self.folder / "flower.db")}
        return {**inherited, **needed, "PYTHONUNBUFFERED": "1"}

    def _closed_url(self) -> str:
        """An address that refuses connections for as long as the stack runs: bound, and never listening."""
        self._closed_port = socket.socket()
        self._closed_port.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{self._closed_port.getsockname()[1]}"

    def _addresses(self, service: Process) -> dict[str, str] | None:
        for line in service.output().splitlines():
            if line.startswith("{"):
                addresses: dict[str, str] = json.loads(line)
                return addresses
        return None

    def _worker_answers(self) -> bool:
        app = Celery(broker=self.environ["GATEWAY_BROKER_URL"], set_as_current=False)
        try:
            return bool(app.control.ping(timeout=0.3))
        finally:
            app.close()

    def _hold(self) -> AbstractContextManager[None]:
        return nullcontext() if self._interrupts is None else self._interrupts.hold()

    def check(self) -> None:
        """See whether all still run.

        Raises:
            ProcessError: one has ended; names it, and has the end of its log.
        """
        for process in self.processes:
            if process.exit_code is not None:
                raise ProcessError(f"{process.name} ended with exit code {process.exit_code}:\n{process.tail()}")

    def stop(self, *, keep: bool = False) -> None:
        """Stop what runs, the last started first. May be called twice.

        Args:
            keep: leave the folder with the logs.
        """
        for process in reversed(self.processes):
            process.stop(_STOP_S)
        self.processes.clear()
        if self._closed_port is not None:
            self._closed_port.close()
        if self._guard is not None:
            if keep:
                self.kept = True
                self._guard.release(self.folder)
            # It also ends what was started and interrupted before it got into the list, and removes the folder.
            self._guard.close()
            self._guard = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(keep=error is not None and not isinstance(error, KeyboardInterrupt))

    def __repr__(self) -> str:
        return f"<Stack {', '.join(map(repr, self.processes)) or 'stopped'} in {self.folder}>"
