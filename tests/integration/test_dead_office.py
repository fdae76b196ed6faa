"""What workers do with dead letters: many in one round trip, bounded in time, and never in the way of an outcome."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from gateway.dead_letter import AttemptMade, Reason
from gateway.dead_letters import DeadLetters
from gateway.dev.valkey import Valkey
from gateway.errors import (
    CallCancelledError,
    Delivery,
    InvalidCallError,
    OutcomeUnknownError,
    ServiceFaultError,
    ServiceUnavailableError,
    UnknownServiceError,
)
from gateway.outcome import Failure
from tests.servers.proxy import Proxy
from tests.unit.workers.executions import execution
from workers.dead import PATIENCE_S, DeadLetterOffice
from workers.execution import Execution

DATABASE = 11
CANARY = "canary-5e1d"
FAULT = Failure(error=ServiceFaultError, message="answered 500", delivery=Delivery.ANSWERED, status=500)
PACKED = b'{"v":1,"queue":"gateway.users","body":"[]","headers":{"gateway_parks":2,"gateway_replay_of":"c0"}}'


@pytest.fixture
async def client(valkey: Valkey) -> AsyncIterator[Any]:
    made: Any = redis.asyncio.Redis.from_url(valkey.url(DATABASE))
    await made.flushdb()
    yield made
    await made.aclose()


def call(call_id: str = "c1") -> Execution:
    made = execution()
    made.call_id = call_id
    return made


def kept(valkey: Valkey) -> Any:
    with DeadLetters.open(valkey.url(DATABASE)) as letters:
        return {letter.id: letter for letter in letters}


async def round_trips(client: Any) -> int:
    stats = await client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


async def test_a_letter_says_what_is_known(client: Any, valkey: Valkey) -> None:
    ended = call()
    ended.progress.history.append(AttemptMade(number=1, at=5.0, took_s=0.1, worker="w", outcome="ServiceFaultError"))
    ended.progress.attempts = 3
    await DeadLetterOffice(client).keep_call(ended, FAULT, lambda: PACKED)
    letter = kept(valkey)["c1"]
    assert (letter.service, letter.operation, letter.protocol) == ("users", "GET /", "rest")
    assert (letter.correlation_id, letter.request_id) == ("order-42", "r")
    assert (letter.cause.type, letter.cause.status, letter.cause.delivery) == ("ServiceFaultError", 500, "answered")
    assert ([made.number for made in letter.attempts], letter.started) == ([1], 3)
    assert (letter.queue, letter.replay_of, letter.message_bytes) == ("gateway.users", "c0", len(PACKED))
    assert bytes(letter.message) == PACKED
    assert letter.repeatable


async def test_what_may_not_be_repeated(client: Any, valkey: Valkey) -> None:
    office = DeadLetterOffice(client)
    for name, error in (("idempotent", ServiceUnavailableError), ("other", OutcomeUnknownError)):
        reset = Failure(error=error, message="reset", delivery=Delivery.MAYBE_SENT)
        await office.keep_call(call(name), reset, lambda: PACKED)
    await office.keep_call(call("poison"), FAULT, lambda: PACKED, reason=Reason.POISONOUS)
    assert {name: letter.may_have_acted for name, letter in kept(valkey).items()} == {
        "idempotent": False,
        "other": True,
        "poison": True,
    }


async def test_nothing_that_others_said_is_told(client: Any, valkey: Valkey) -> None:
    office = DeadLetterOffice(client)
    said = Failure(
        error=ServiceFaultError,
        message=f"INTERNAL: no row {CANARY}",
        delivery=Delivery.ANSWERED,
        status="INTERNAL",
        details={"message": CANARY},
    )
    await office.keep_call(call("grpc"), said, lambda: PACKED)
    wrong = Failure(
        error=InvalidCallError,
        message=f"request.user: '{CANARY}' is no number; pass one",
        delivery=Delivery.NOT_SENT,
        extra={"field": "request.user", "cure": "pass one"},
    )
    await office.keep_call(call("late"), wrong, lambda: PACKED)
    odd = InvalidCallError.because("path.user_id", f"{CANARY!r} is empty", "pass a value")
    kwargs = {"call": {"service": CANARY.upper(), "method": CANARY, "protocol": "rest"}, "correlation_id": "c-42"}
    await office.keep_refused("refused", odd, kwargs, lambda: PACKED)
    await office.keep_refused("wordy", InvalidCallError(f"odd {CANARY}"), {}, lambda: PACKED)
    letters = kept(valkey)
    assert CANARY not in repr(letters)
    assert CANARY.upper() not in repr(letters)
    assert letters["grpc"].cause.message == "INTERNAL"
    assert letters["late"].cause.message == "request.user: it is not valid; pass one"
    assert letters["refused"].cause.message == "path.user_id: it is not valid; pass a value"
    assert (letters["refused"].reason, letters["refused"].correlation_id, letters["refused"].parks) == (
        Reason.UNREADABLE,
        "c-42",
        2,
    )


async def test_an_unknown_service_can_be_replayed_to_another(client: Any, valkey: Valkey) -> None:
    kwargs = {"version": 1, "call": {"protocol": "rest", "service": "gone", "method": "GET", "route": "/x"}}
    error = UnknownServiceError("no service 'gone'", delivery=Delivery.MAYBE_SENT)
    await DeadLetterOffice(client).keep_refused("c1", error, {**kwargs, "caller": "orders"}, lambda: PACKED)
    letter = kept(valkey)["c1"]
    assert (letter.reason, letter.service, letter.operation, letter.caller) == (
        Reason.FAILED,
        "gone",
        "GET /x",
        "orders",
    )
    assert not letter.repeatable


async def test_what_is_not_kept_is_not_packed(client: Any, valkey: Valkey) -> None:
    def pack() -> bytes:
        raise AssertionError("nobody needs it")

    cancelled = Failure(error=CallCancelledError, message="cancelled", delivery=Delivery.NOT_SENT)
    await DeadLetterOffice(client).keep_call(call(), cancelled, pack)
    assert kept(valkey) == {}


async def test_a_message_that_cannot_be_packed_costs_no_letter(client: Any, valkey: Valkey) -> None:
    def pack() -> bytes:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text")

    await DeadLetterOffice(client).keep_call(call(), FAULT, pack)
    assert not kept(valkey)["c1"].has_message


async def test_a_call_that_ended_otherwise_meanwhile(client: Any, valkey: Valkey) -> None:
    def pack() -> bytes:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await DeadLetterOffice(client).keep_call(call(), FAULT, pack)
    assert kept(valkey) == {}


async def test_many_share_a_round_trip(client: Any, valkey: Valkey) -> None:
    office = DeadLetterOffice(client)
    await office.keep_call(call("first"), FAULT, lambda: PACKED)  # the server learns the script
    before = await round_trips(client)
    await asyncio.gather(*(office.keep_call(call(f"c{number}"), FAULT, lambda: PACKED) for number in range(500)))
    assert await round_trips(client) - before <= 10
    assert len(kept(valkey)) == 501


async def test_large_ones_do_not(client: Any, valkey: Valkey) -> None:
    office = DeadLetterOffice(client)
    await office.keep_call(call("first"), FAULT, lambda: PACKED)
    before = await round_trips(client)
    large = PACKED[:-1] + b',"body2":"' + b"x" * 900_000 + b'"}'
    await asyncio.gather(*(office.keep_call(call(f"c{number}"), FAULT, lambda: large) for number in range(12)))
    # About 11 MB in parts of 4; the first may leave before all are there, and the server counts what others ask too.
    assert 3 <= await round_trips(client) - before <= 8
    assert len(kept(valkey)) == 13


async def test_a_cancellation_meanwhile_has_no_effect(client: Any, valkey: Valkey, tmp_path: Path) -> None:
    proxy = Proxy(valkey.port)
    slow: Any = redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{proxy.port}/{DATABASE}")
    office = DeadLetterOffice(slow)
    await office.keep_call(call("first"), FAULT, lambda: PACKED)
    proxy.hold(up=True)
    keeping = asyncio.create_task(office.keep_call(call("second"), FAULT, lambda: PACKED))
    await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.sleep(0.05)
    assert not keeping.done()
    proxy.let_go()
    await keeping
    assert "second" in kept(valkey)
    await slow.aclose()
    proxy.close()


async def test_a_store_that_hangs_costs_a_bounded_time(
    client: Any, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = Proxy(valkey.port)
    hanging: Any = redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{proxy.port}/{DATABASE}")
    office = DeadLetterOffice(hanging)
    await hanging.ping()
    proxy.hold(up=True)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "gateway.dead"):
        await asyncio.gather(*(office.keep_call(call(f"c{number}"), FAULT, lambda: PACKED) for number in range(300)))
        assert PATIENCE_S - 0.1 <= time.monotonic() - began < PATIENCE_S + 1
        await office.close()
    assert time.monotonic() - began < 2 * PATIENCE_S + 1.5
    assert "dead letters are not kept" in caplog.text
    await hanging.aclose()
    proxy.close()
