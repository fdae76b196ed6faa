"""How gRPC calls end before their reply, against real servers: by time, by cancelling, by closing; and what stays."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.errors import (
    Delivery,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.policy import Connections, Policy
from tests.conformance.contract import eventually
from tests.conformance.grpc_calls import (
    ROOT,
    STREAM,
    UNARY,
    answered,
    failed,
    make_attempt,
    make_service,
)
from tests.servers.grpc_faults import FaultyUsers
from workers.transports.rpc import GrpcTransport


@pytest_asyncio.fixture
async def users(tmp_path: Path) -> AsyncIterator[FaultyUsers]:
    async with FaultyUsers(tmp_path) as server:
        yield server


@pytest_asyncio.fixture
async def transport(users: FaultyUsers) -> AsyncIterator[GrpcTransport]:
    made = GrpcTransport(make_service(users.port), ROOT)
    yield made
    await made.close()


class TestTime:
    async def test_a_hang_ends_with_the_budget(self, users: FaultyUsers, transport: GrpcTransport) -> None:
        failure = failed(
            await transport.send(make_attempt("hang", budget=0.3)), ServiceTimeoutError, Delivery.MAYBE_SENT
        )
        assert failure.extra == {"phase": "attempt"}
        assert failure.status is None
        await eventually(lambda: users.cancelled == ["hang"])
        answered(await transport.send(make_attempt("7")))

    @pytest.mark.parametrize(("request_", "method"), [("hang", UNARY), ({"user_id": "pause"}, STREAM)])
    async def test_silence_is_bounded(
        self, users: FaultyUsers, transport: GrpcTransport, request_: Any, method: str
    ) -> None:
        attempt = make_attempt(request_, method=method, read=0.2)
        failure = failed(await transport.send(attempt), ServiceTimeoutError, Delivery.MAYBE_SENT)
        assert failure.extra == {"phase": "read"}
        await eventually(lambda: len(users.cancelled) == 1)

    async def test_a_dripping_stream_is_not_silent_and_ends_with_the_budget(
        self, users: FaultyUsers, transport: GrpcTransport
    ) -> None:
        attempt = make_attempt({"user_id": "drip"}, method=STREAM, read=0.2, budget=0.5)
        failure = failed(await transport.send(attempt), ServiceTimeoutError, Delivery.MAYBE_SENT)
        assert failure.extra == {"phase": "attempt"}
        await eventually(lambda: users.cancelled == ["drip"])

    async def test_places_are_bounded(self, users: FaultyUsers) -> None:
        policy = Policy(connections=Connections(max=2))
        transport = GrpcTransport(make_service(users.port, policy=policy), ROOT)
        busy = [asyncio.ensure_future(transport.send(make_attempt("hang"))) for _ in range(2)]
        await eventually(lambda: len(users.arrived) == 2)
        assert repr(transport) == f"<GrpcChannel user-service 127.0.0.1:{users.port} READY 2 busy>"
        attempt = make_attempt("7", pool=0.1)
        failure = failed(await transport.send(attempt), ServiceTimeoutError, Delivery.NOT_SENT)
        assert failure.extra == {"phase": "pool"}
        assert attempt.wire.pool_acquired is None
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        answered(await transport.send(make_attempt("7")))
        await transport.close()


class TestCancellation:
    @pytest.mark.parametrize(("request_", "method"), [("hang", UNARY), ({"user_id": "pause"}, STREAM)])
    async def test_a_cancelled_attempt_ends_at_the_service_and_leaks_nothing(
        self, users: FaultyUsers, transport: GrpcTransport, request_: Any, method: str
    ) -> None:
        answered(await transport.send(make_attempt("7")))
        tasks = len(asyncio.all_tasks())
        attempts = [make_attempt(request_, method=method) for _ in range(20)]
        running = [asyncio.ensure_future(transport.send(attempt)) for attempt in attempts]
        await eventually(lambda: len(users.arrived) == 21)
        for task in running:
            task.cancel()
        results = await asyncio.gather(*running, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert all(attempt.wire.sent is not None for attempt in attempts)
        await eventually(lambda: len(users.cancelled) == 20)
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
        assert " 0 busy" in repr(transport)
        answered(await transport.send(make_attempt("7")))

    async def test_closing_fails_what_is_in_flight(self, users: FaultyUsers, transport: GrpcTransport) -> None:
        running = asyncio.ensure_future(transport.send(make_attempt("hang")))
        await eventually(lambda: users.arrived == ["hang"])
        await transport.close()
        failed(await running, ServiceUnavailableError, Delivery.MAYBE_SENT)
        failed(await transport.send(make_attempt("7")), ServiceUnavailableError, Delivery.NOT_SENT)
        assert "SHUTDOWN" in repr(transport)

    async def test_closing_fails_who_waits_for_a_place(self, users: FaultyUsers) -> None:
        policy = Policy(connections=Connections(max=1))
        transport = GrpcTransport(make_service(users.port, policy=policy), ROOT)
        first, second = (asyncio.ensure_future(transport.send(make_attempt("hang", pool=2.0))) for _ in range(2))
        await eventually(lambda: users.arrived == ["hang"] and "1 waiting" in repr(transport))
        await transport.close()
        failed(await first, ServiceUnavailableError, Delivery.MAYBE_SENT)
        failed(await second, ServiceUnavailableError, Delivery.NOT_SENT)

    async def test_closing_and_cancelling_at_once_is_a_cancellation(
        self, users: FaultyUsers, transport: GrpcTransport
    ) -> None:
        running = asyncio.ensure_future(transport.send(make_attempt("hang")))
        await eventually(lambda: users.arrived == ["hang"])
        running.cancel()
        await transport.close()
        with pytest.raises(asyncio.CancelledError):
            await running


class TestMemory:
    async def test_no_objects_stay_behind(self, transport: GrpcTransport) -> None:
        async def many() -> int:
            for _ in range(100):
                answered(await transport.send(make_attempt("7")))
                await transport.send(make_attempt("status:NOT_FOUND"))
            gc.collect()
            return len(gc.get_objects())

        await many()
        first = await many()
        second = await many()
        assert second - first < 500, "two hundred calls leave no five hundred objects"
