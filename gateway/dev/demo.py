"""The demo's main job: calls over three protocols with good and bad outcomes, and 200 calls at once in one worker."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

from celery import chain

from gateway.call import GrpcCall, RestCall
from gateway.client import Gateway
from gateway.dev.demo_case import BEHAVIOUR, CASES, GET_USER, Case
from gateway.dev.demo_row import Row
from gateway.dev.stack import Stack
from gateway.errors import CallRejectedError, InvalidCallError, ServiceError, UnknownServiceError
from gateway.reference import previous
from gateway.reply import Reply

__all__ = ["BURST", "BURST_BOUND_S", "ENQUEUED", "STEPS", "Demo"]

#: Calls at once, and how long the service takes for each, in ms.
BURST = 200
BURST_SERVICE_MS = 200
#: A quarter of what they would take one after the other. Far from what is usual, so that a busy machine passes.
BURST_BOUND_S = BURST * BURST_SERVICE_MS / 1000 / 4
#: How often `done` is called in all.
STEPS = len(CASES) + 2 + BURST
#: One good call of each protocol.
WARM_UP = tuple({case.protocol: case for case in reversed(CASES) if case.outcome is None}.values())
#: Messages in all: without what is refused at `submit`, and with both steps of the chain.
ENQUEUED = len(WARM_UP) + STEPS + 1 - sum(case.outcome in (InvalidCallError, UnknownServiceError) for case in CASES)

_PATIENCE_S = 30.0
_CHECK_S = 0.2

Done = Callable[[Row | None], None]


class Demo:
    """Makes the calls against a stack that runs.

    Args:
        stack: watched meanwhile.
        done: called after each call, with its row; without one for the calls of the burst.
    """

    def __init__(self, stack: Stack, done: Done) -> None:
        self._stack = stack
        self._done = done

    async def run(self) -> list[Row]:
        """All rows, in the order of the table.

        Raises:
            ProcessError: a part of the stack ended.
        """
        with Gateway.from_env(self._stack.environ) as gateway:
            work = asyncio.ensure_future(self._work(gateway))
            try:
                while not (await asyncio.wait([work], timeout=_CHECK_S))[0]:
                    self._stack.check()
            finally:
                work.cancel()
            return work.result()

    async def _work(self, gateway: Gateway) -> list[Row]:
        # The first call of each protocol connects and reads descriptors; the table shows what comes after.
        await asyncio.gather(*(self._outcome(gateway, case, _new_id()) for case in WARM_UP))
        # The bad calls run beside the good ones: none of them holds up another.
        rows = await asyncio.gather(
            *(self._case(gateway, case) for case in CASES), self._chain(gateway), self._unsigned(gateway)
        )
        return [*rows, await self._burst(gateway)]

    async def _case(self, gateway: Gateway, case: Case) -> Row:
        correlation_id = _new_id()
        return await self._row(case, correlation_id, lambda: self._outcome(gateway, case, correlation_id))

    async def _outcome(self, gateway: Gateway, case: Case, correlation_id: str) -> Reply:
        pending = await gateway.asubmit(
            case.make(),
            deadline=case.deadline,
            correlation_id=correlation_id,
            idempotency_key=case.idempotency_key,
        )
        return await pending.aresult(_PATIENCE_S)

    async def _row(self, case: Case, correlation_id: str, outcome: Callable[[], Awaitable[Reply]]) -> Row:
        started = time.monotonic()
        result: Reply | BaseException
        try:
            result = await outcome()
        except (ServiceError, TimeoutError) as error:
            result = error
        enqueued = isinstance(result, Reply) or bool(getattr(result, "correlation_id", None))
        row = Row.of(case, result, time.monotonic() - started, correlation_id if enqueued else None)
        self._done(row)
        return row

    async def _chain(self, gateway: Gateway) -> Row:
        correlation_id = _new_id()
        first = GrpcCall("user-service", GET_USER, {"user_id": "125"})
        second = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": previous("data.user.id")})

        async def outcome() -> Reply:
            steps = [gateway.signature(call, correlation_id=correlation_id) for call in (first, second)]
            last = await asyncio.to_thread(lambda: chain(*steps).apply_async())
            return await gateway.pending(last.id).aresult(_PATIENCE_S)

        case = Case(
            title="a chain: one's reply is in the next one's call",
            protocol="gRPC → REST",
            make=lambda: second,
            status=200,
            data=lambda reply: reply.data["name"] == "Alan Turing",
        )
        return await self._row(case, correlation_id, outcome)

    async def _unsigned(self, gateway: Gateway) -> Row:
        """What a producer gets that has no key."""
        case = Case(
            title="a call that nobody signed",
            protocol="REST",
            make=lambda: RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"}),
            outcome=CallRejectedError,
            error=lambda error: error.details["reason"] == "unsigned" and error.delivery == "not_sent",
        )
        settings = replace(gateway.settings, caller_key=None)
        with Gateway(settings, gateway.catalogue) as nobody:
            return await self._case(nobody, case)

    async def _burst(self, gateway: Gateway) -> Row:
        call = RestCall(
            "user-service",
            "GET",
            "/users/{user_id}",
            path={"user_id": "124"},
            headers={BEHAVIOUR: f"slow={BURST_SERVICE_MS}"},
        )
        correlation_id = _new_id()
        started = time.monotonic()
        pendings = await gateway.asubmit_many([call] * BURST, correlation_id=correlation_id)

        async def outcome(position: int) -> bool:
            try:
                reply = await pendings[position].aresult(_PATIENCE_S)
            except (ServiceError, TimeoutError):
                return False
            finally:
                self._done(None)
            return reply.status == 200

        replies = sum(await asyncio.gather(*map(outcome, range(BURST))))
        elapsed_s = time.monotonic() - started
        alone_s = BURST * BURST_SERVICE_MS / 1000
        return Row(
            title=f"{BURST} calls at once in one worker, {BURST_SERVICE_MS} ms each",
            protocol="REST",
            outcome="reply" if replies == BURST else f"{replies} of {BURST} replies",
            said=f"{replies} replies in {elapsed_s:.2f} s; one after the other they take {alone_s:.0f} s",
            status=200 if replies else None,
            attempts=BURST,
            elapsed_s=elapsed_s,
            correlation_id=correlation_id,
            expected=replies == BURST and elapsed_s < BURST_BOUND_S,
        )


def _new_id() -> str:
    return f"demo-{uuid.uuid4().hex[:8]}"
