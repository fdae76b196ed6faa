"""What REST and GraphQL do beyond the contract of every transport: what only HTTP, TLS and a pool can do wrong."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from functools import partial

import pytest

from gateway.call import RestCall
from gateway.errors import (
    Delivery,
    InvalidReplyError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.policy import Connections, Policy
from tests.conformance.contract import Expected, attempt_of, eventually, send_within
from tests.conformance.protocols import OVER_HTTP, Protocol, rest_to
from tests.conformance.stillness import Stillness
from tests.servers.http_faults import HttpFaults
from workers.transports.base import Answer

NOT_SENT, MAYBE_SENT, ANSWERED = (Delivery.NOT_SENT,), (Delivery.MAYBE_SENT,), (Delivery.ANSWERED,)

BY_PATH = [
    Expected(fault=fault, error=error, delivery=delivery, phase=phase, status=status, timeouts=timeouts)
    for fault, error, delivery, phase, status, timeouts in (
        ("hang-after-reading?", ServiceTimeoutError, MAYBE_SENT, "attempt", None, {"attempt": 0.15}),
        ("hang-in-body", ServiceTimeoutError, ANSWERED, "read", 200, {"read": 0.15}),
        ("eof-after-reading", ServiceUnavailableError, MAYBE_SENT, None, None, {}),
        ("eof-in-head", InvalidReplyError, MAYBE_SENT, None, None, {}),
        ("huge-headers", InvalidReplyError, MAYBE_SENT, None, None, {}),
        ("truncated-chunked", InvalidReplyError, ANSWERED, None, 200, {}),
        ("garbage-chunk", InvalidReplyError, ANSWERED, None, 200, {}),
        ("reset-in-endless-body", InvalidReplyError, ANSWERED, None, 200, {}),
        ("huge-announced", InvalidReplyError, ANSWERED, None, 200, {}),
        ("invalid-json", InvalidReplyError, ANSWERED, None, 200, {}),
        ("invalid-utf8", InvalidReplyError, ANSWERED, None, 200, {}),
        ("switching", InvalidReplyError, ANSWERED, None, 101, {}),
        *(
            (f"coded/{coding}/{how}", InvalidReplyError, ANSWERED, None, 200, {})
            for coding in ("gzip", "deflate", "br", "zstd")
            for how in ("truncated", "trailing", "bomb")
        ),
    )
]


@pytest.fixture(params=OVER_HTTP, ids=str)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    chosen: Protocol = request.param
    return chosen


@pytest.fixture
async def faults() -> AsyncIterator[HttpFaults]:
    async with HttpFaults() as server:
        yield server


def good(answer: object) -> None:
    assert isinstance(answer, Answer), answer
    assert answer.status == 200
    assert answer.data in ({"data": {"ok": True}}, {"ok": True})


def _arrived(faults: HttpFaults, count: int) -> bool:
    return len(faults.arrivals) >= count


def _finished(faults: HttpFaults, count: int) -> bool:
    return faults.finished >= count


async def check(protocol: Protocol, url: str, expected: Expected) -> None:
    """The fault ends in the expected failure, and leaves no permit taken."""
    policy = Policy(connections=Connections(max=1))
    transport = protocol.connect(url, policy)
    try:
        expected.check(await send_within(transport, attempt_of(protocol.call, expected.timeouts)))
        assert " 0 busy," in repr(transport)
        assert "0 waiting" in repr(transport)
    finally:
        await transport.close()


@pytest.mark.parametrize("expected", BY_PATH, ids=str)
async def test_a_fault_ends_in_its_failure(protocol: Protocol, faults: HttpFaults, expected: Expected) -> None:
    await check(protocol, f"{faults.url}/{expected.fault}", expected)


@pytest.mark.parametrize("expected", BY_PATH, ids=str)
async def test_the_next_call_works(faults: HttpFaults, expected: Expected) -> None:
    transport = rest_to(faults.url, Policy(connections=Connections(max=1)))
    route = "/" + expected.fault.removesuffix("?")
    try:
        attempt = attempt_of(RestCall("faults", "GET", route), expected.timeouts)
        expected.check(await send_within(transport, attempt))
        good(await send_within(transport, attempt_of(RestCall("faults", "GET", "/ok"), request_id="r2")))
        assert faults.count("r2") == 1
    finally:
        await transport.close()


async def test_no_address(protocol: Protocol) -> None:
    expected = Expected(fault="no address", error=ServiceUnavailableError, delivery=NOT_SENT, timeouts={"connect": 5.0})
    await check(protocol, "http://no-such-host.invalid", expected)


async def test_connect_timeout_covers_a_tls_handshake_that_hangs(protocol: Protocol) -> None:
    async with HttpFaults(on_accept="hang") as server:
        expected = Expected(fault="slow TLS", error=ServiceTimeoutError, delivery=NOT_SENT, phase="connect")
        await check(protocol, server.url.replace("http:", "https:"), expected)


async def test_a_certificate_that_nobody_signed_is_refused(protocol: Protocol) -> None:
    async with HttpFaults(tls=True) as server:
        expected = Expected(fault="self-signed", error=ServiceUnavailableError, delivery=NOT_SENT)
        await check(protocol, server.url, expected)
        assert server.arrivals == []


async def test_a_tls_handshake_that_is_reset_sent_nothing(protocol: Protocol) -> None:
    expected = Expected(fault="reset in TLS", error=ServiceUnavailableError, delivery=NOT_SENT)
    async with HttpFaults(on_accept="reset") as server:
        await check(protocol, server.url.replace("http:", "https:"), expected)


async def test_pool_timeout_is_not_the_connect_timeout(protocol: Protocol, faults: HttpFaults) -> None:
    transport = protocol.connect(f"{faults.url}/hang-after-reading", Policy(connections=Connections(max=1)))
    try:
        first = asyncio.create_task(send_within(transport, attempt_of(protocol.call, {"attempt": 0.5})))
        await eventually(lambda: faults.arrivals)
        second = attempt_of(protocol.call, {"pool": 0.1}, request_id="r2")
        expected = Expected(fault="pool", error=ServiceTimeoutError, delivery=NOT_SENT, phase="pool")
        expected.check(await send_within(transport, second))
        assert second.wire.pool_acquired is None
        assert faults.count("r2") == 0
        await first
    finally:
        await transport.close()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_coded_body_is_decoded(protocol: Protocol, faults: HttpFaults, coding: str) -> None:
    transport = protocol.connect(f"{faults.url}/coded/{coding}/whole", Policy())
    try:
        good(await send_within(transport, attempt_of(protocol.call)))
    finally:
        await transport.close()


async def test_a_bomb_of_a_gibibyte_costs_its_bound(protocol: Protocol, faults: HttpFaults) -> None:
    bound = 4 * 1024 * 1024
    transport = protocol.connect(f"{faults.url}/gibibyte", Policy())
    try:
        await send_within(transport, attempt_of(protocol.call, {"attempt": 10.0}, max_reply_bytes=bound))
        tracemalloc.start()
        try:
            attempt = attempt_of(protocol.call, {"attempt": 10.0}, max_reply_bytes=bound)
            expected = Expected(fault="bomb", error=InvalidReplyError, delivery=ANSWERED, status=200)
            expected.check(await send_within(transport, attempt))
            assert tracemalloc.get_traced_memory()[1] < 4 * bound
        finally:
            tracemalloc.stop()
    finally:
        await transport.close()


@pytest.mark.parametrize("fault", ["leftover", "leftover-after-head", "leftover-later"])
async def test_what_is_left_over_reaches_no_other_call(protocol: Protocol, faults: HttpFaults, fault: str) -> None:
    transport = protocol.connect(f"{faults.url}/{fault}", Policy(connections=Connections(max=1)))
    try:
        for number in range(3):
            good(await send_within(transport, attempt_of(protocol.call, request_id=f"r{number}")))
            await eventually(partial(_finished, faults, number + 1))
        assert len(faults.arrivals) == 3
        assert {arrival.connection for arrival in faults.arrivals} == {1, 2, 3}
    finally:
        await transport.close()


@pytest.mark.parametrize("fault", ["close-after", "close-on-reuse"])
async def test_a_kept_connection_that_closes_is_sent_to_once(
    protocol: Protocol, faults: HttpFaults, fault: str
) -> None:
    transport = protocol.connect(f"{faults.url}/{fault}", Policy(connections=Connections(max=1)))
    try:
        good(await send_within(transport, attempt_of(protocol.call)))
        outcome = await send_within(transport, attempt_of(protocol.call, request_id="r2"))
        if fault == "close-after":
            good(outcome)
        else:
            Expected(fault=fault, error=ServiceUnavailableError, delivery=MAYBE_SENT).check(outcome)
        assert faults.count("r2") == 1
    finally:
        await transport.close()


async def test_interim_replies_are_passed_over(protocol: Protocol, faults: HttpFaults) -> None:
    transport = protocol.connect(f"{faults.url}/hundred-continue", Policy())
    try:
        good(await send_within(transport, attempt_of(protocol.call)))
    finally:
        await transport.close()


async def test_the_marks_tell_the_stages(protocol: Protocol, faults: HttpFaults) -> None:
    transport = protocol.connect(faults.url, Policy())
    try:
        first, second = attempt_of(protocol.call), attempt_of(protocol.call)
        good(await send_within(transport, first))
        good(await send_within(transport, second))
    finally:
        await transport.close()
    wire = first.wire
    marks = [wire.pool_acquired, wire.connect_started, wire.connected, wire.sent, wire.first_byte]
    assert marks == sorted(mark for mark in marks if mark is not None)
    assert second.wire.connect_started is None
    assert second.wire.connected is None
    assert second.wire.sent is not None


async def test_closing_fails_the_calls_in_flight(protocol: Protocol, faults: HttpFaults) -> None:
    for fault in ("hang-after-reading", "hang-in-body"):
        transport = protocol.connect(f"{faults.url}/{fault}", Policy())
        before, attempt = len(faults.arrivals), attempt_of(protocol.call)
        sending = asyncio.create_task(send_within(transport, attempt))
        await eventually(partial(_arrived, faults, before + 1))
        if fault == "hang-in-body":
            await eventually(partial(getattr, attempt.wire, "first_byte"))
        await transport.close()
        outcome = await sending
        error = ServiceUnavailableError if fault == "hang-after-reading" else InvalidReplyError
        assert not isinstance(outcome, Answer)
        assert (outcome.error, outcome.extra) == (error, {})
        late = await send_within(transport, attempt_of(protocol.call))
        Expected(fault="closed", error=ServiceUnavailableError, delivery=NOT_SENT).check(late)


def a_large_body() -> bytes:
    """A reply that takes a quarter of a second or so to read."""
    return b'{"data": {"n": [' + b"1," * 700_000 + b"1]}}"


async def test_a_large_reply_does_not_stop_the_loop(protocol: Protocol, faults: HttpFaults) -> None:
    faults.say = (200, "application/json", a_large_body())
    transport = protocol.connect(f"{faults.url}/say", Policy())
    try:
        async with Stillness() as stillness:
            attempt = attempt_of(protocol.call, max_reply_bytes=10_000_000)
            answer = await send_within(transport, attempt)
        assert isinstance(answer, Answer), answer
        assert stillness.longest_s < stillness.took_s / 2
    finally:
        await transport.close()


async def test_cancelling_while_a_large_reply_is_read(protocol: Protocol, faults: HttpFaults) -> None:
    transport = protocol.connect(f"{faults.url}/say", Policy(connections=Connections(max=1)))
    try:
        for _ in range(3):
            faults.say = (200, "application/json", a_large_body())
            attempt = attempt_of(protocol.call, max_reply_bytes=10_000_000)
            call = asyncio.create_task(transport.send(attempt))
            await eventually(lambda: "0 busy, 1 idle" in repr(transport))
            assert not call.done()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            faults.say = (200, "application/json", b'{"data": {"ok": true}}')
            good(await send_within(transport, attempt_of(protocol.call)))
    finally:
        await transport.close()
    assert faults.connections == 1


async def test_cancelling_leaks_no_permit(faults: HttpFaults) -> None:
    transport = rest_to(faults.url, Policy(connections=Connections(max=20)))
    hanging = RestCall("faults", "GET", "/hang-after-reading")
    try:
        for number in range(20):
            arrived = len(faults.arrivals)
            calls = [asyncio.create_task(transport.send(attempt_of(hanging, {"pool": 5.0}))) for _ in range(60)]
            await eventually(lambda: " 20 busy," in repr(transport))
            if number % 2:  # otherwise they are cancelled while they connect
                await eventually(partial(_arrived, faults, arrived + 20))
            for call in calls:
                call.cancel()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert repr(transport) == "<HttpPool faults/rest 0 busy, 0 idle, 0 waiting>"
        ok = RestCall("faults", "GET", "/ok")
        answers = await asyncio.gather(*(send_within(transport, attempt_of(ok, {"pool": 5.0})) for _ in range(60)))
        for answer in answers:
            good(answer)
        assert repr(transport) == "<HttpPool faults/rest 0 busy, 20 idle, 0 waiting>"
    finally:
        await transport.close()
