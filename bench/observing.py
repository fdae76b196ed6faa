"""What it costs to see everything: calls a second that one worker drains, with all of it on and with all of it off.

A queue is filled, then a worker process is started on it; the clock runs from the first answer of the service to the
last. On: logs at INFO, metrics (scraped each second), history, events for Flower (nobody listens; that costs the same),
and traces that an OTLP receiver takes. Off: none of it. Runs alternate, and each figure is the median of its own. The
service, Valkey and this process share the machine with the worker, so the CPU of the worker is told beside the rate.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.progress import track
from rich.table import Table

from gateway import Gateway, RestCall, fleet_keys
from gateway.dev.process import free_port
from gateway.dev.valkey import Valkey
from gateway.routing import queue_of
from tests.servers.worker import Worker

_ROOT = Path(__file__).resolve().parent
_CALL = RestCall("users", "GET", "/users/{user_id}", path={"user_id": "123"})
_BAR = 0.9
_OFF = {
    "GATEWAY_WORKER_ADDRESS": "off",
    "GATEWAY_HISTORY": "off",
    "OTEL_SDK_DISABLED": "true",
}
#: What is switched on by itself: each alone says where the cost is.
_PARTS = ("everything", "logs", "metrics", "history", "events", "traces", "nothing")


class _Receiver(BaseHTTPRequestHandler):
    """Takes spans, and throws them away."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Silent."""


@contextmanager
def _receiver() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _environment(part: str, receiver: str, port: int) -> tuple[str, str, dict[str, str]]:
    """The app, the log level and the environment of a worker that has one part on."""

    def has(name: str) -> bool:
        return part in ("everything", name)

    env = dict(_OFF)
    if has("metrics"):
        env["GATEWAY_WORKER_ADDRESS"] = f"127.0.0.1:{port}"
    if has("history"):
        del env["GATEWAY_HISTORY"]
    if has("traces"):
        env |= {"OTEL_SDK_DISABLED": "false", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver, "OTEL_SERVICE_NAME": "bench"}
    app = "workers.app" if has("events") else "bench.silent"
    return app, "INFO" if has("logs") else "ERROR", env


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _run(part: str, calls: int, environ: Mapping[str, str], receiver: str, folder: Path) -> tuple[float, float]:
    """Calls a second, and CPU microseconds a call, of one worker."""
    port = free_port()
    with redis.Redis.from_url(environ["GATEWAY_RESULT_URL"]) as store:
        store.flushall()
        with Gateway.from_env(environ) as gateway:
            for start in range(0, calls, 1000):
                gateway.submit_many([_CALL] * min(1000, calls - start), deadline=300.0)
        app, level, env = _environment(part, receiver, port)
        began = ended = started_cpu = 0.0
        worker = Worker(
            app, folder, env={**environ, **env}, concurrency=300, arguments=("--loglevel", level), timeout=None
        )
        try:
            limit = time.monotonic() + 300
            scraped = 0.0
            left = calls
            while left:
                assert time.monotonic() < limit, worker.output()[-2000:]
                left = _left(store)
                now = time.monotonic()
                if not began and left < calls:
                    # The first ones warm it up.
                    began, first, started_cpu = now, left, _cpu_s(worker.pid)
                ended = now
                if env["GATEWAY_WORKER_ADDRESS"] != "off" and began and now - scraped > 1:
                    scraped = now
                    with suppress(OSError):
                        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2).read()
                time.sleep(0.01)
            used = _cpu_s(worker.pid) - started_cpu
            answered = sum(1 for _ in store.scan_iter("celery-task-meta-*", count=1000))
            assert answered == calls, f"{answered} of {calls} calls have their outcome"
        finally:
            worker.process.stop()
    return first / (ended - began), used / first * 1e6


def _left(store: "redis.Redis") -> int:
    """Calls that are queued, parked, or taken and not acknowledged."""
    with store.pipeline() as pipe:
        pipe.llen(queue_of("users"))
        pipe.hlen("unacked")
        pipe.zcard(fleet_keys.parked("users"))
        return sum(map(int, pipe.execute()))


def main() -> None:
    """Measure, print a table and write `bench/results/observing.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4000, help="calls in a run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="everything,nothing", help=f"of {','.join(_PARTS)}; or all")
    given = parser.parse_args()
    parts = _PARTS if given.parts == "all" else tuple(given.parts.split(","))
    figures: dict[str, list[tuple[float, float]]] = {part: [] for part in parts}
    with tempfile.TemporaryDirectory() as folder, _receiver() as receiver:
        valkey = Valkey(Path(folder))
        service = subprocess.Popen(
            [sys.executable, str(_ROOT / "upstream.py"), "0.02"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert service.stdout is not None
            config = Path(folder) / "gateway.toml"
            config.write_text('[services.users]\nrest.url = "${USERS_URL}"\n')
            environ = {
                "GATEWAY_BROKER_URL": valkey.url(0),
                "GATEWAY_RESULT_URL": valkey.url(0),
                "GATEWAY_CONFIG": str(config),
                "USERS_URL": f"http://127.0.0.1:{service.stdout.readline().strip()}",
            }
            for number in track(range(given.rounds), description="rounds"):
                # In turns, and in the other order each time.
                for part in parts if number % 2 else reversed(parts):
                    figures[part].append(_run(part, given.calls, environ, receiver, Path(folder)))
        finally:
            service.terminate()
            service.wait(10)
            valkey.stop()
    _tell(figures)


def _tell(figures: dict[str, list[tuple[float, float]]]) -> None:
    table = Table(title="one worker drains a queue of REST calls to a service that takes 20 ms")
    for column in ("on", "calls/s", "min", "max", "of nothing", "CPU µs a call"):
        table.add_column(column, justify="left" if column == "on" else "right")
    results: list[dict[str, object]] = []
    base = statistics.median(rate for rate, _ in figures["nothing"]) if "nothing" in figures else None
    for part, runs in figures.items():
        rates, cpus = [rate for rate, _ in runs], [cpu for _, cpu in runs]
        rate, cpu = statistics.median(rates), statistics.median(cpus)
        ratio = "" if base is None else f"{rate / base:.2f}"
        table.add_row(part, f"{rate:.0f}", f"{min(rates):.0f}", f"{max(rates):.0f}", ratio, f"{cpu:.0f}")
        for metric, unit, values in (("drain", "calls/s", rates), ("CPU a call", "us", cpus)):
            results.append(
                {
                    "work": "REST call, 20 ms service, one worker",
                    "system": f"observed: {part}",
                    "metric": metric,
                    "unit": unit,
                    "median": round(statistics.median(values), 1),
                    "min": round(min(values), 1),
                    "max": round(max(values), 1),
                }
            )
    console = Console()
    console.print(table)
    if base is not None and "everything" in figures:
        share = statistics.median(rate for rate, _ in figures["everything"]) / base
        console.print(
            f"with everything on: {share:.0%} of the rate; bar {_BAR:.0%}: {'met' if share >= _BAR else 'MISSED'}"
        )
    path = _ROOT / "results" / "observing.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
