"""Flower's memory has a bound, however many calls there were."""

import os
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from gateway.dev.flower import Flower
from gateway.dev.process import Process
from gateway.dev.valkey import Valkey

ROOT = Path(__file__).resolve().parents[2]
#: Calls that it is told to remember, those that warm it up, and those after them.
REMEMBERED, FIRST, MORE = 500, 2_500, 12_500
LOGIN = "operator:anything-else"


class Watched:
    """A Flower of its own, and a worker's events without a worker."""

    def __init__(self, folder: Path) -> None:
        self.valkey = Valkey(folder)
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FLOWER_", "GATEWAY_"))},
            "GATEWAY_BROKER_URL": self.valkey.url(0),
            "GATEWAY_RESULT_URL": self.valkey.url(1),
            "FLOWER_BASIC_AUTH": LOGIN,
            "FLOWER_MAX_TASKS": str(REMEMBERED),
            "FLOWER_DB": str(folder / "flower.db"),
            "PYTHONUNBUFFERED": "1",
        }
        argv = ["-m", "celery", "-A", "workers.app", "flower", "--conf=flowerconfig.py", "--port=0"]
        self.process = Process("flower", [sys.executable, *argv], log=folder / "flower.log", env=environ, cwd=ROOT)
        self.process.wait_until(lambda: "Visit me at" in self.process.output(), timeout=30)
        (url,) = re.findall(r"Visit me at (http://\S+?)/?\s", self.process.output())
        self.flower = Flower(url, LOGIN)
        self.told = 0

    def tell(self, calls: int) -> None:
        """Send the events of so many calls, each with another id, and wait until Flower has them."""
        with Celery(broker=self.valkey.url(0)) as app, app.connection_for_write() as connection:
            dispatcher = app.events.Dispatcher(connection, hostname="worker@somewhere")
            last = ""
            for number in range(calls):
                last = str(uuid.uuid4())
                said = {"correlation_id": f"order-{self.told + number}", "request_id": last, "caller": "orders"}
                name = f"service-{number % 50} GET /things/{{id}}"
                dispatcher.send("task-received", uuid=last, name=name, args="()", kwargs=repr(said), retries=0)
                dispatcher.send("task-started", uuid=last)
                dispatcher.send("task-succeeded", uuid=last, result=f"200 in {number} ms", runtime=0.1)
                if number % 500 == 499:
                    # Redis cuts off a subscriber that falls too far behind.
                    self.process.wait_until(lambda: self._has(last), timeout=60)  # noqa: B023 - asked at once
            self.process.wait_until(lambda: self._has(last), timeout=60)
        self.told += calls

    def _has(self, call_id: str) -> bool:
        try:
            return '"SUCCESS"' in self.flower.page(f"/api/task/info/{call_id}")
        except OSError:
            return False

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1000


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.process.stop()
    made.valkey.process.stop()


def test_it_remembers_so_many_calls_and_no_more_memory_is_taken_by_the_rest(watched: Watched) -> None:
    watched.process.wait_until(lambda: "Connected to" in watched.process.output(), timeout=30)
    watched.tell(FIRST)
    before = watched.resident_mb()
    watched.tell(MORE)
    grown = watched.resident_mb() - before
    # See it with `pytest -rP`.
    sys.stdout.write(f"{before:.0f} MB after {FIRST} calls, {grown:+.1f} MB after {MORE} more\n")
    assert len(watched.flower.tasks()) == REMEMBERED
    # Those that it forgot would take 70 MB.
    assert grown < 15
