"""Producers that do not stop: a steady mix of calls, each with what its producer was told."""

import asyncio
import random
import threading
import time
from collections.abc import Callable

from gateway import Gateway, GrpcCall, PendingCall, RestCall
from gateway.errors import GatewayUnavailableError, ServiceError
from tests.faults.matrix.made import Kind, Made

__all__ = ["MARGIN_S", "Kind", "Made", "Traffic"]

#: What the promise allows beyond a call's deadline.
MARGIN_S = 10.0
#: How many submits wait for the broker at once; while it answers none, no more are begun.
_MOST_SUBMITS = 4


class Traffic:
    """Submits calls from a thread of its own with one event loop, as a web server would.

    Args:
        gateway: takes them.
        rate: calls a second.
        deadline_s: of each.
        seed: decides the mix.
        service: that is called.
        batch: calls that are submitted together; those with an idempotency key are submitted one by one.
        most: calls without an outcome yet, beyond which no more are submitted.
        below: where the paths begin; what is below `/rpc` is asked over gRPC.

    Attributes:
        made: all calls, in the order of their submits.
        ended: how many of them have their outcome, or were refused.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        rate: float,
        deadline_s: float,
        seed: int,
        service: str = "ledger",
        batch: int = 1,
        most: int = 100_000,
        below: str = "/traffic",
    ) -> None:
        self.made: list[Made] = []
        self.ended = 0
        self._below = below
        self._gateway = gateway
        self._rate = rate
        self._deadline_s = deadline_s
        self._service = service
        self._batch = batch
        self._random = random.Random(seed)
        self._numbers = 0
        self._accepted = 0
        self._flows = False
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Semaphore(most)
        self._submits = asyncio.Semaphore(_MOST_SUBMITS)
        self._waiting: set[asyncio.Task[None]] = set()
        #: Cleared: it pauses.
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Submit calls from now on."""
        self._flows = True
        asyncio.run_coroutine_threadsafe(self._submit_all(), self._loop)

    def stop(self) -> None:
        """Submit no more; those which were submitted are still awaited."""
        self._flows = False

    def pause(self) -> None:
        """Submit none for now; returns when no submit is under way."""

        async def settle() -> None:
            self._flowing.clear()
            for _ in range(_MOST_SUBMITS):
                await self._submits.acquire()
            for _ in range(_MOST_SUBMITS):
                self._submits.release()

        asyncio.run_coroutine_threadsafe(settle(), self._loop).result(60)

    def resume(self) -> None:
        """Go on."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def call(self, kind: Kind, path: str, *, deadline_s: float | None = None, service: str | None = None) -> Made:
        """Submit one call beside the flow, and return when it is accepted or refused; it counts as the others do."""
        ready = threading.Event()
        made = Made(kind=kind, path=path, submitted=time.monotonic())
        one = self._one(
            [made], deadline_s or self._deadline_s, service=service or self._service, accepted=ready.set, alone=True
        )
        asyncio.run_coroutine_threadsafe(self._start(one), self._loop)
        assert ready.wait(60), f"{path} was neither accepted nor refused"
        return made

    def calls(self, count: int, below: str, *, service: str | None = None, batch: int = 250) -> None:
        """Submit many calls beside the flow, half of them GETs and half POSTs; returns when all are accepted."""
        for start in range(0, count, batch):
            kind: Kind = "POST" if start // batch % 2 else "GET"
            ready = threading.Event()
            some = [
                Made(kind=kind, path=f"{below}/{number}", submitted=0.0)
                for number in range(start, min(start + batch, count))
            ]
            one = self._one(some, self._deadline_s, service=service or self._service, accepted=ready.set, alone=True)
            asyncio.run_coroutine_threadsafe(self._start(one), self._loop)
            assert ready.wait(60), f"{count} calls were neither accepted nor refused"

    def include(self, made: list[Made]) -> None:
        """Count calls of another producer too; each has ended."""
        self.made += made
        self.ended += len(made)

    def finish(self, timeout: float) -> None:
        """Wait until every accepted call has its outcome, or has had its time.

        Raises:
            AssertionError: they did not within `timeout` seconds.
        """
        self.stop()
        ends = time.monotonic() + timeout
        while self.open():
            assert time.monotonic() < ends, f"{self.open()} calls have neither an outcome nor a verdict"
            time.sleep(0.05)

    def open(self) -> int:
        """How many calls have no outcome yet."""
        return len(self.made) - self.ended

    def refused(self) -> int:
        """How many submits were refused so far."""
        return sum(made.refused is not None for made in list(self.made))

    def accepted(self) -> int:
        """How many calls were accepted so far."""
        return self._accepted

    def replies(self, *, since: float = 0.0) -> int:
        """How many calls that were submitted since a moment have their reply."""
        return sum(made.replied for made in list(self.made) if made.submitted >= since)

    def close(self) -> None:
        """End the thread."""
        self.stop()

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop)
        self._thread.join(10)
        if not self._thread.is_alive():
            self._loop.close()

    async def _submit_all(self) -> None:
        due = time.monotonic()
        while self._flows:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._flowing.wait()
            # A producer that was held up does not make up for it.
            due = max(due, time.monotonic() - 1.0) + self._batch / self._rate
            kind: Kind = self._random.choices(("GET", "POST", "keyed"), (4, 4, 2))[0]
            count = 1 if kind == "keyed" else self._batch
            batch = []
            for _ in range(count):
                await self._open.acquire()
                self._numbers += 1
                batch.append(Made(kind=kind, path=f"{self._below}/{self._numbers}", submitted=0.0))
            await self._submits.acquire()
            await self._start(self._one(batch, self._deadline_s, service=self._service))

    async def _start(self, one: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(one)
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _one(
        self,
        batch: list[Made],
        deadline_s: float,
        *,
        service: str,
        accepted: Callable[[], None] = lambda: None,
        alone: bool = False,
    ) -> None:
        began = time.monotonic()
        self.made += batch
        calls = [_asked(service, made) for made in batch]
        handles: list[PendingCall] = []
        refused: ServiceError | None = None
        try:
            if batch[0].kind == "keyed":
                key = batch[0].path.replace("/", "-")
                handles = [await self._gateway.asubmit(calls[0], deadline=deadline_s, idempotency_key=key)]
            else:
                handles = await self._gateway.asubmit_many(calls, deadline=deadline_s)
        except ServiceError as error:
            refused = error
        finally:
            if not alone:
                self._submits.release()
        now = time.monotonic()
        for number, made in enumerate(batch):
            made.submitted, made.submit_s, made.refused = began, now - began, refused
            if refused is None:
                made.call_id = handles[number].id
                self._accepted += 1
            else:
                made.ended = now
                self.ended += 1
        accepted()
        try:
            if refused is None:
                await asyncio.gather(
                    *(
                        self._follow(made, handle, now + deadline_s + MARGIN_S)
                        for made, handle in zip(batch, handles, strict=True)
                    )
                )
        finally:
            if not alone:
                for _ in batch:
                    self._open.release()

    async def _follow(self, made: Made, handle: PendingCall, ends: float) -> None:
        """Wait for what it ends with; whoever waits asks again when the store could not be asked."""
        while True:
            left = ends - time.monotonic()
            try:
                await handle.aresult(timeout=max(0.0, left))
                made.replied = True
            except TimeoutError:
                pass
            except ServiceError as error:
                # Without a service it is this process that cannot ask, and no outcome.
                away = isinstance(error, GatewayUnavailableError) and error.service is None
                if away and left > 0:
                    await asyncio.sleep(0.5)
                    continue
                # A traceback would hold on to all that there was when it was raised.
                made.error = None if away else error.with_traceback(None)
            made.ended = time.monotonic()
            self.ended += 1
            return


def _asked(service: str, made: Made) -> RestCall | GrpcCall:
    """What is below `/rpc` is asked over gRPC; the ledger has it under the same path."""
    if made.path.startswith("/rpc/"):
        return GrpcCall(service, f"counting.Counter/{'Read' if made.kind == 'GET' else 'Add'}", {"case": made.path})
    return RestCall(service, "GET" if made.kind == "GET" else "POST", _route(made.path), path=_parts(made.path))


def _route(path: str) -> str:
    return path.rpartition("/")[0] + "/{number}"


def _parts(path: str) -> dict[str, str]:
    return {"number": path.rpartition("/")[2]}
