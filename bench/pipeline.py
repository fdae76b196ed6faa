"""What the resilience pipeline costs beyond the bare transport, in CPU of the worker's process.

The same calls, with as many in flight, once through the transport alone and once through the whole executor: deadline,
retries, hedging, and for each attempt lease, breaker, limits and budget asked of a real server, and reported to it.
What the executor does before the first layer, reading and checking the message, is measured by itself, and so is what
this benchmark does for each call. All run in this process, in turns; each figure is a median. Service and Valkey have
processes of their own.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import uvloop
from rich.console import Console
from rich.progress import track
from rich.table import Table

from gateway import RestCall
from gateway.catalogue import Catalogue
from gateway.codec import encode
from gateway.dev.valkey import Valkey
from gateway.envelope import Envelope
from gateway.policy import Timeouts
from gateway.reply import Reply
from workers.attempt import Answer, Attempt
from workers.executor import Executor
from workers.transports.rest import RestTransport

_ROOT = Path(__file__).resolve().parent
_CALL = RestCall("users", "GET", "/users/{user_id}", path={"user_id": "123"})
_BAR_US = 150
_WORK = "REST call, 20 ms service"
_BARE, _WHOLE = "bare transport", "whole executor"
_READING, _MADE = "reading and checking the message", "made for the measurement"


async def _load(one: Callable[[], Awaitable[None]], *, calls: int, in_flight: int) -> float:
    """CPU microseconds of this process for each call."""
    left = calls

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await one()

    began = time.process_time()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return (time.process_time() - began) / calls * 1e6


async def _measure(url: str, redis_url: str, *, calls: int, in_flight: int, rounds: int) -> dict[str, list[float]]:
    catalogue = Catalogue.parse({"services": {"users": {"rest": {"url": url}, "limit": {"rate": "100000/s"}}}})
    executor = Executor(catalogue, {}, result_url=redis_url, result_prefix="celery-task-meta-", worker="bench")
    await executor.start()
    service = catalogue.services["users"]
    transport = RestTransport(service)
    headers = {"x-correlation-id": "order-42", "x-request-id": "0123456789abcdef"}

    async def bare() -> None:
        attempt = Attempt(
            call=_CALL,
            number=1,
            headers=headers,
            timeouts=Timeouts(),
            budget_s=3.0,
            max_reply_bytes=service.policy.reply.max_bytes,
            max_messages=1000,
        )
        answer = await transport.send(attempt)
        assert isinstance(answer, Answer), answer

    async def whole() -> None:
        kwargs = encode(
            Envelope(
                version=1, call=_CALL, correlation_id="order-42", request_id="r" * 32, deadline_at=time.time() + 30
            )
        )
        call_id = str(uuid4())
        reply = await executor.perform(call_id, (), kwargs, {}, lambda: b"")
        assert isinstance(reply, Reply), reply
        executor.stored(call_id)

    async def message() -> None:
        """What is neither: making the message, which is the producer's work, and reading it."""
        encode(Envelope(version=1, call=_CALL, correlation_id="order-42", deadline_at=time.time() + 30))
        str(uuid4())

    read = encode(Envelope(version=1, call=_CALL, correlation_id="order-42", request_id="r" * 32, deadline_at=1e10))

    async def reading() -> None:
        """What comes before the layers."""
        assert executor._fleet is not None
        fleet, idempotent = executor._fleet, executor._is_idempotent
        executor._reception.accept("0" * 36, (), read, {}, None, fleet=fleet, idempotent=idempotent)

    figures: dict[str, list[float]] = {name: [] for name in (_BARE, _WHOLE, _READING, _MADE)}
    for one in (bare, whole):
        await _load(one, calls=in_flight * 2, in_flight=in_flight)
    for _ in track(range(rounds), description="rounds"):
        for name, one in zip(figures, (bare, whole, reading, message), strict=True):
            figures[name].append(await _load(one, calls=calls, in_flight=in_flight))
    await transport.close()
    await executor.close()
    return figures


def main() -> None:
    """Measure, print a table and write `bench/results/pipeline.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3000, help="calls in a round")
    parser.add_argument("--in-flight", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds that the service takes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        valkey = Valkey(Path(folder))
        service = subprocess.Popen(
            [sys.executable, str(_ROOT / "upstream.py"), str(given.delay)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert service.stdout is not None
            url = f"http://127.0.0.1:{service.stdout.readline().strip()}"
            figures = uvloop.run(
                _measure(url, valkey.url(0), calls=given.calls, in_flight=given.in_flight, rounds=given.rounds)
            )
        finally:
            service.terminate()
            service.wait(10)
            valkey.stop()
    _tell(figures, given.in_flight)


def _tell(figures: dict[str, list[float]], in_flight: int) -> None:
    table = Table(title=f"CPU of the worker's process for a call, {in_flight} in flight")
    for column in ("", "median µs", "min", "max"):
        table.add_column(column, justify="left" if not column else "right")
    medians = {name: statistics.median(values) for name, values in figures.items()}
    for name, values in figures.items():
        table.add_row(name, f"{medians[name]:.0f}", f"{min(values):.0f}", f"{max(values):.0f}")
    beyond = medians[_WHOLE] - medians[_BARE] - medians[_MADE]
    layers = beyond - medians[_READING]
    met = "met" if layers <= _BAR_US else "MISSED"
    table.add_section()
    table.add_row("beyond the bare transport", f"{beyond:.0f}", "", "")
    table.add_row("of it the layers and what they ask", f"{layers:.0f}", "", f"bar {_BAR_US}: {met}")
    Console().print(table)
    results: list[dict[str, object]] = [
        {
            "work": _WORK,
            "system": name,
            "metric": "CPU a call",
            "unit": "us",
            "median": round(medians[name], 1),
            "min": round(min(values), 1),
            "max": round(max(values), 1),
        }
        for name, values in figures.items()
    ]
    for name, value in (("beyond the bare transport", beyond), ("the layers and what they ask", layers)):
        results.append({"work": _WORK, "system": name, "metric": "CPU a call", "unit": "us", "median": round(value, 1)})
    path = _ROOT / "results" / "pipeline.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
