"""What only gRPC, HTTP/2 and a channel can do wrong beyond the contract, and above all whether the request was sent."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from gateway.dev.process import Process, free_port, is_listening
from gateway.errors import (
    Delivery,
    InvalidReplyError,
    RateLimitedError,
    ServiceAuthError,
    ServiceError,
    ServiceFaultError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.outcome import Failure
from gateway.policy import Connections, Policy, Timeouts
from gateway.service import GrpcEndpoint, Service
from tests.conformance.contract import eventually
from tests.conformance.grpc_calls import (
    ROOT,
    STREAM,
    answered,
    failed,
    make_attempt,
    make_service,
)
from tests.servers.grpc_faults import FaultyUsers
from tests.servers.grpc_raw import RawConnection, RawServer
from workers.transports import rpc_link
from workers.transports.rpc import GrpcTransport

SERVER = Path(__file__).resolve().parents[1] / "servers" / "grpc_faults.py"

Step = Callable[[RawConnection, int], Any]


def steps(*each: Step) -> Callable[[RawConnection, int], Any]:
    """A raw server's behaviour: the steps one after the other."""

    async def behave(connection: RawConnection, stream: int) -> None:
        for step in each:
            step(connection, stream)

    return behave


def begin(connection: RawConnection, stream: int) -> None:
    connection.begin_reply(stream)


def hang_up(connection: RawConnection, _: int) -> None:
    connection.writer.close()


def message(connection: RawConnection, stream: int) -> None:
    connection.data(stream, b"")


def trailers(status: int, text: str = "") -> Step:
    return lambda connection, stream: connection.trailers(stream, status, text)


def reset(code: int) -> Step:
    return lambda connection, stream: connection.reset_stream(stream, code)


def http(status: int) -> Step:
    fields = {":status": str(status), "content-type": "text/html"}
    return lambda connection, stream: connection.headers(stream, fields, end=True)


def data(payload: bytes, *, end: bool = False) -> Step:
    return lambda connection, stream: connection.frame(0, int(end), stream, payload)


def write(raw: bytes) -> Step:
    return lambda connection, _: connection.writer.write(raw)


NOT_SENT, MAYBE_SENT, ANSWERED = Delivery.NOT_SENT, Delivery.MAYBE_SENT, Delivery.ANSWERED

#: What arrives completely at the service: what it does then → error and delivery.
AFTER_THE_REQUEST: dict[str, tuple[tuple[Step, ...], type[ServiceError], Delivery]] = {
    "closed": ((hang_up,), ServiceUnavailableError, MAYBE_SENT),
    "closed after the headers": ((begin, hang_up), ServiceUnavailableError, MAYBE_SENT),
    "closed after the message": ((begin, message, hang_up), ServiceUnavailableError, MAYBE_SENT),
    "GOAWAY below the stream": ((lambda c, _: c.go_away(0),), ServiceUnavailableError, NOT_SENT),
    "GOAWAY below the stream, closed": ((lambda c, _: c.go_away(0), hang_up), ServiceUnavailableError, NOT_SENT),
    "GOAWAY with the stream, closed": ((lambda c, s: c.go_away(s), hang_up), ServiceUnavailableError, MAYBE_SENT),
    "RST_STREAM INTERNAL_ERROR": ((reset(2),), ServiceFaultError, MAYBE_SENT),
    "RST_STREAM REFUSED_STREAM": ((reset(7),), ServiceUnavailableError, MAYBE_SENT),
    "RST_STREAM CANCEL": ((reset(8),), ServiceFaultError, MAYBE_SENT),
    "status 14, trailers only": ((trailers(14),), ServiceUnavailableError, ANSWERED),
    "status 14 after a message": ((begin, message, trailers(14)), ServiceUnavailableError, ANSWERED),
    "status 4 before the deadline": ((trailers(4, "Deadline Exceeded"),), ServiceTimeoutError, ANSWERED),
    "status 99": ((trailers(99),), ServiceFaultError, ANSWERED),
    "status OK, no message": ((begin, trailers(0)), InvalidReplyError, ANSWERED),
    "no status": ((begin, lambda c, s: c.headers(s, {"x": "y"}, end=True)), InvalidReplyError, ANSWERED),
    "no trailers": ((begin, data(b"\0\0\0\0\0", end=True)), InvalidReplyError, ANSWERED),
    "unknown compression": ((begin, data(b"\1\0\0\0\1x"), trailers(0)), InvalidReplyError, ANSWERED),
    "a message of 2 GB announced": ((begin, data(b"\0\x7f\xff\xff\xffx")), InvalidReplyError, ANSWERED),
    "HTTP/1.1 after the handshake": ((write(b"HTTP/1.1 400 Bad\r\n\r\n" * 4),), InvalidReplyError, MAYBE_SENT),
    "HTTP 401": ((http(401),), ServiceAuthError, ANSWERED),
    "HTTP 404": ((http(404),), ServiceRejectedError, ANSWERED),
    "HTTP 429": ((http(429),), RateLimitedError, ANSWERED),
    "HTTP 503": ((http(503),), ServiceUnavailableError, ANSWERED),
    # A service that passes on what it got from a service behind it may have acted before.
    "passed on: refused": ((trailers(14, "failed to connect to all addresses"),), ServiceUnavailableError, MAYBE_SENT),
    "passed on: GOAWAY": ((trailers(14, "Stream removed (GOAWAY received"),), ServiceUnavailableError, MAYBE_SENT),
    "their limit": ((trailers(8, "SERVER: Received message larger than max"),), ServiceRejectedError, ANSWERED),
}


@pytest.mark.parametrize("case", AFTER_THE_REQUEST)
async def test_after_the_request_arrived(case: str) -> None:
    behaviour, error, delivery = AFTER_THE_REQUEST[case]
    async with RawServer(steps(*behaviour)) as server:
        transport = GrpcTransport(make_service(server.port), ROOT)
        attempt = make_attempt("7")
        began = monotonic()
        failure = failed(await transport.send(attempt), error, delivery)
        assert monotonic() - began < 1.0
        assert attempt.wire.sent is not None
        assert (failure.status is None) == (delivery is not ANSWERED)
        await transport.close()
        assert server.requests == 1, "neither repeated nor transparently retried"


@pytest.mark.parametrize("case", ["closed", "RST_STREAM REFUSED_STREAM", "GOAWAY below the stream"])
async def test_the_next_call_works(case: str) -> None:
    behaviour, error, delivery = AFTER_THE_REQUEST[case]
    arrived = 0

    async def first_fails(connection: RawConnection, stream: int) -> None:
        nonlocal arrived
        arrived += 1
        for step in behaviour if arrived == 1 else (begin, message, trailers(0)):
            step(connection, stream)

    async with RawServer(first_fails) as server:
        transport = GrpcTransport(make_service(server.port), ROOT)
        failed(await transport.send(make_attempt("7")), error, delivery)
        assert answered(await transport.send(make_attempt("7"))).data == {}
        assert arrived == 2
        await transport.close()


async def test_a_stream_that_breaks_off_may_have_been_executed() -> None:
    async with RawServer(steps(begin, message, message, hang_up)) as server:
        transport = GrpcTransport(make_service(server.port), ROOT)
        result = await transport.send(make_attempt({"user_id": "7"}, method=STREAM))
        failed(result, ServiceUnavailableError, MAYBE_SENT)
        await transport.close()
        assert server.requests == 1


async def _close_at_once(connection: RawConnection, _: int) -> None:
    connection.reset_tcp()


async def _http1(connection: RawConnection, _: int) -> None:
    connection.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await connection.reader.read()


@pytest.mark.parametrize("greeting", [_close_at_once, _http1])
async def test_what_does_not_greet_as_http2_was_sent_nothing(greeting: Any) -> None:
    async with RawServer(steps(), on_accept=greeting) as server:
        transport = GrpcTransport(make_service(server.port), ROOT)
        attempt = make_attempt("7")
        failed(await transport.send(attempt), ServiceUnavailableError, NOT_SENT)
        assert attempt.wire.sent is None
        assert attempt.wire.connect_started is not None
        await transport.close()


@pytest.mark.parametrize(
    "target", ["127.0.0.1:1", "localhost:1", "no-such-host.invalid:443", "dns:///no-such-host.invalid"]
)
async def test_nobody_there_is_said_at_once(target: str) -> None:
    endpoint = GrpcEndpoint(target=target, protos=["goodgo/user/v1/user.proto"])
    transport = GrpcTransport(Service(name="user-service", policy=Policy(), grpc=endpoint), ROOT)
    for _ in range(3):  # the second and third find the channel between two attempts to connect
        began = monotonic()
        attempt = make_attempt("7")
        failure = failed(await transport.send(attempt), ServiceUnavailableError, NOT_SENT)
        assert monotonic() - began < 0.5
        assert attempt.wire.sent is None
        assert failure.status is None
        assert "no connection: " in failure.message
    await transport.close()


async def test_tls_to_a_server_without(tmp_path: Path) -> None:
    async with FaultyUsers(tmp_path) as users:
        endpoint = GrpcEndpoint(target=f"127.0.0.1:{users.port}", tls=True, protos=["goodgo/user/v1/user.proto"])
        transport = GrpcTransport(Service(name="user-service", policy=Policy(), grpc=endpoint), ROOT)
        failure = failed(await transport.send(make_attempt("7")), ServiceUnavailableError, NOT_SENT)
        assert "handshake" in failure.message
        await transport.close()
        assert users.arrived == []


def _start(port: int, folder: Path) -> Process:
    argv = [sys.executable, str(SERVER), str(port), str(folder)]
    return Process("users", argv, log=folder / "log").wait_until(lambda: is_listening(port), timeout=20)


async def test_a_killed_server_and_its_successor(tmp_path: Path) -> None:
    port = free_port()
    server = await asyncio.to_thread(_start, port, tmp_path)
    try:
        transport = GrpcTransport(make_service(port), ROOT)
        answered(await transport.send(make_attempt("7")))
        attempt = make_attempt("hang")
        running = asyncio.ensure_future(transport.send(attempt))
        await eventually(lambda: attempt.wire.sent is not None)
        await asyncio.sleep(0.05)  # until it is on the wire
        server.kill()
        failed(await running, ServiceUnavailableError, MAYBE_SENT)
        for _ in range(3):
            failed(await transport.send(make_attempt("7")), ServiceUnavailableError, NOT_SENT)
        server = await asyncio.to_thread(_start, port, tmp_path)
        began = monotonic()
        while isinstance(await transport.send(make_attempt("7")), Failure):
            assert monotonic() - began < 1.5
            await asyncio.sleep(0.02)
        await transport.close()
    finally:
        server.kill()


async def test_an_idle_connection_is_closed_and_opened_again(tmp_path: Path) -> None:
    async with FaultyUsers(tmp_path) as users:
        policy = Policy(connections=Connections(keepalive=1.0))
        transport = GrpcTransport(make_service(users.port, policy=policy), ROOT)
        answered(await transport.send(make_attempt("7")))
        await eventually(lambda: "IDLE" in repr(transport), within=4.0)
        attempt = make_attempt("7")
        answered(await transport.send(attempt))
        assert attempt.wire.connect_started is not None
        await transport.close()


async def test_a_cancelled_wait_for_a_connection_disturbs_nobody() -> None:
    async with RawServer(steps(begin, message, trailers(0)), greet=False) as server:
        policy = Policy(timeouts=Timeouts(attempt=2.0, connect=1.0))
        transport = GrpcTransport(make_service(server.port, policy=policy), ROOT)
        attempts = [make_attempt("7", connect=0.5) for _ in range(10)]
        running = [asyncio.ensure_future(transport.send(attempt)) for attempt in attempts]
        await eventually(lambda: server.connections == 1)
        for task in running[:9]:
            task.cancel()
        await asyncio.gather(*running[:9], return_exceptions=True)
        failure = failed(await running[9], ServiceTimeoutError, NOT_SENT)
        assert failure.extra == {"phase": "connect"}
        assert all(attempt.wire.sent is None for attempt in attempts)
        assert server.connections == 1
        await transport.close()


async def test_closing_fails_who_waits_for_a_connection() -> None:
    async with RawServer(steps(), greet=False) as server:
        transport = GrpcTransport(make_service(server.port), ROOT)
        running = [asyncio.ensure_future(transport.send(make_attempt("7", connect=2.0))) for _ in range(3)]
        await eventually(lambda: server.connections == 1)
        await transport.close()
        for result in await asyncio.gather(*running):
            failed(result, ServiceUnavailableError, NOT_SENT)


async def test_a_peer_that_went_silent_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_link, "_KEEPALIVE_MS", 300)
    monkeypatch.setattr(rpc_link, "_KEEPALIVE_TIMEOUT_MS", 200)

    async def go_silent(connection: RawConnection, stream: int) -> None:
        await asyncio.Event().wait()  # and read nothing more, so that no ping is answered

    async with RawServer(steps(), on_head=go_silent) as server:
        transport = GrpcTransport(make_service(server.port), ROOT)
        failed(await transport.send(make_attempt("7", budget=5.0)), ServiceUnavailableError, MAYBE_SENT)
        await transport.close()
