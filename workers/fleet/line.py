"""The line to the fleet's Redis: what became of attempts and which may be sent, in one round trip after the other.

What is told goes before what is asked, so that a place that was given back can be taken in the same moment. While one
round trip is under way everything else collects for the next: their number does not grow with that of the calls.
"""

import asyncio
import logging
from contextvars import Context
from time import monotonic
from typing import Any

import msgspec

from gateway.clock import FleetClock
from workers.fleet.admission import Admission
from workers.fleet.reports import End, Reports
from workers.fleet.script import Script
from workers.resilience.breaker import Phase
from workers.verdict import Ask, Go, Late, Verdict, Wait

__all__ = ["AwayError", "Line"]

_log = logging.getLogger("gateway.fleet")

#: Redis that does not answer must not hold up calls.
_PATIENCE_S = 1.0
#: After it did not, it is left alone for so long.
_REST_S = 1.0
#: Questions of one round trip; more would hold Redis up for everybody else.
_MOST = 200


class AwayError(Exception):
    """Redis does not answer."""


class Line:
    """Belongs to one event loop.

    Args:
        client: of the Redis that holds the fleet's state.
        admission: makes the questions.
        reports: has what is to be told.
        clock: learns the time of that Redis.

    Attributes:
        phases: of the services' breakers, as the fleet has them: phase, and until when an open one stays so (Unix
            seconds).
        concurrency: the limits of attempts at once, as they are now.
    """

    def __init__(self, client: Any, admission: Admission, reports: Reports, clock: FleetClock) -> None:
        self._client = client
        self._admission = admission
        self._reports = reports
        self._clock = clock
        self._script = Script("report.lua", "admit.lua")
        self._asks: list[tuple[Ask, asyncio.Future[Verdict]]] = []
        self._task: asyncio.Task[None] | None = None
        self._rests_until = 0.0
        self._failed = ""
        self.phases: dict[str, tuple[Phase, float]] = {}
        self.concurrency: dict[str, int] = {}

    async def ask(self, ask: Ask) -> Verdict:
        """May this attempt be sent?

        Raises:
            AwayError: Redis does not answer, or did not a moment ago.
        """
        if self.is_away:
            raise AwayError
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._asks.append((ask, answer))
        self.tell()
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                # Answered and cancelled in the same moment.
                self._hand_back(ask, answer.result())
                self.tell()
            raise

    def tell(self) -> None:
        """There is something to tell. It goes out at the end of the loop's tick, or after the round trip before."""
        if self._task is None:
            # Of no call: the first that asks would otherwise be named in its lines.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    async def settle(self) -> None:
        """Wait until all is told."""
        while self._task is not None:
            await asyncio.wait([self._task])

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer a moment ago."""
        return monotonic() < self._rests_until

    async def _run(self) -> None:
        asks: list[tuple[Ask, asyncio.Future[Verdict]]] = []
        try:
            while self._asks or self._reports:
                if self.is_away:
                    await asyncio.sleep(self._rests_until - monotonic())
                asks, self._asks = self._asks[:_MOST], self._asks[_MOST:]
                try:
                    verdicts = await self._round_trip([ask for ask, _ in asks])
                except Exception as error:  # whatever it is, calls must go on
                    self._rests_until = monotonic() + _REST_S
                    self._reports.put_back()
                    self._say_once(error)
                    asks, self._asks = [*asks, *self._asks], []
                    for _, answer in asks:
                        if not answer.done():
                            answer.set_exception(AwayError())
                    continue
                self._reports.told()
                if self._failed:
                    self._failed = ""
                    _log.warning("the fleet's Redis answers again")
                for (ask, answer), verdict in zip(asks, verdicts, strict=True):
                    if answer.done():
                        self._hand_back(ask, verdict)
                    else:
                        answer.set_result(verdict)
        finally:
            self._task = None
            # Whatever went wrong here, nobody may wait for an answer that cannot come.
            asks, self._asks = [*asks, *self._asks], []
            for _, answer in asks:
                if not answer.done():
                    answer.set_exception(AwayError())

    def _say_once(self, error: Exception) -> None:
        kind = type(error).__name__
        if kind != self._failed:
            _log.warning("the fleet's Redis cannot be asked (%s: %s); this worker decides alone", kind, error)
            self._failed = kind

    def _hand_back(self, ask: Ask, verdict: Verdict) -> None:
        """Whoever asked was cancelled meanwhile: what it was given goes back."""
        if not isinstance(verdict, Go | Wait | Late):
            return
        self._reports.end(
            End(
                call_id=ask.call_id,
                service=ask.service,
                number=verdict.number if isinstance(verdict, Go) else 0,
                token=verdict.token,
                health="neutral",
                probe=isinstance(verdict, Go) and verdict.permit.probe,
                # A lease that the call had before is given back by whoever runs it.
                over=ask.token == 0,
                maybe_sent=False,
                unused=ask.hedge and isinstance(verdict, Go),
            )
        )

    async def _round_trip(self, asks: list[Ask]) -> list[Verdict]:
        told = self._reports.take() if self._reports else b""
        asked = self._admission.request(asks) if asks else b""
        asked_at = self._clock.monotonic()
        async with asyncio.timeout(_PATIENCE_S):
            answers = await self._script.run(self._client, told, asked)
        replies = [msgspec.json.decode(raw) for raw in answers if raw]
        self._clock.observe(float(replies[-1]["now"]), asked_at, self._clock.monotonic())
        for reply in replies:
            for name, (phase, until, concurrency) in (reply["services"] or {}).items():
                self.phases[name] = (phase, float(until))
                if concurrency:
                    self.concurrency[name] = concurrency
        return [self._admission.verdict(answer) for answer in replies[-1]["answers"]] if asks else []
