"""The step that runs the port in a Celery worker."""

import atexit
import logging
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.exceptions import WorkerShutdown
from celery.platforms import EX_FAILURE
from celery.worker import state
from prometheus_client import generate_latest
from prometheus_client.registry import Collector

from gateway.worker_address import WorkerAddress
from workers.executor import Executor
from workers.observation.metrics import Metrics
from workers.observation.worker_collector import WorkerCollector
from workers.pool import AsyncioPool
from workers.port.server import PortServer, PortTakenError
from workers.port.vitals import Vitals

__all__ = ["port_step"]

_log = logging.getLogger("gateway.port")

#: Celery's flags; either is set once the worker was told to end.
_flags: Any = state


class _Controlled:
    """A Celery worker, as `Vitals` sees it."""

    def __init__(self, controller: Any, pool: AsyncioPool) -> None:
        self._controller = controller
        self._pool = pool

    def ask_loop(self, answer: Callable[[], object]) -> None:
        if self._pool.calls is not None:
            self._pool.calls.ask(answer)

    def ask_hub(self, answer: Callable[[], object]) -> None:
        self._pool.ask_hub(answer)

    def look_at_store(self) -> None:
        if self.executor is not None:
            self.ask_loop(self.executor.look_at_store)

    @property
    def executor(self) -> Executor | None:
        found = None if self._pool.calls is None else self._pool.calls.executor
        return found if isinstance(found, Executor) else None

    @property
    def is_started(self) -> bool:
        return self.executor is not None

    @property
    def is_connected(self) -> bool:
        return bool(getattr(self._controller.consumer, "is_connected", False))

    @property
    def is_stopping(self) -> bool:
        running: int = bootsteps.RUN  # type: ignore[attr-defined] # the stubs lack it
        is_told = _flags.should_stop not in (None, False) or _flags.should_terminate not in (None, False)
        return is_told or self._controller.blueprint.state not in (None, running)

    @property
    def is_store_away(self) -> bool:
        return self.executor is not None and self.executor.is_away


def port_step(
    address: Callable[[], WorkerAddress | None], metrics: Callable[[], Metrics | None], fleet: Callable[[], Collector]
) -> type[bootsteps.StartStopStep]:
    """The step: `app.steps["worker"].add(port_step(…))`.

    Args:
        address: to listen on; None: nowhere.
        metrics: of this process.
        fleet: makes what tells of the whole fleet.
    """

    class PortStep(bootsteps.StartStopStep):
        """Starts with the pool. It answers until the process ends: that the worker is stopping is for all to see."""

        requires = ("celery.worker.components:Pool",)

        def start(self, parent: Any) -> None:
            where, counted = address(), metrics()
            if where is None or counted is None or not isinstance(parent.pool, AsyncioPool):
                return
            worker = _Controlled(parent, parent.pool)
            vitals = Vitals(worker)
            executor = worker.executor
            if executor is not None:
                failures, history = executor.stream.failures, executor.observation.history
                lost = (lambda: 0) if history is None else (lambda: history.lost)
                counted.add(WorkerCollector(executor.usage, lambda: vitals.loop.lag_s, failures, lost))
            counted.add(fleet())
            server = PortServer(where, vitals, lambda: generate_latest(counted.registry))
            try:
                server.start()
            except PortTakenError as error:
                _log.critical("the worker does not start: %s", error)
                raise WorkerShutdown(EX_FAILURE) from None
            atexit.register(server.stop)

        def stop(self, parent: Any) -> None:
            """Not before the process ends."""

        terminate = stop

    return PortStep
