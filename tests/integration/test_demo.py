"""`gateway demo` and `gateway dev` as people run them: as processes, with what they show and what they leave behind."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import Gateway, RestCall
from gateway.dev.demo import BURST_BOUND_S
from gateway.dev.process import Process
from tests.integration.marked import Marked

GATEWAY = str(Path(sys.executable).parent / "gateway")

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Marked]:
    marked = Marked(tmp_path)
    yield marked
    marked.end()


def start(marked: Marked, *argv: str) -> Process:
    return Process(argv[-1], argv, log=marked.folder / "output.txt", env=marked.environ())


def wait_for(process: Process, text: str) -> None:
    process.wait_until(lambda: text in process.output(), timeout=60)


def no_process_is_left(marked: Marked) -> bool:
    return marked.gone_within(5) and not marked.left_folders()


def test_every_outcome_is_the_expected_one_and_nothing_is_left(marked: Marked) -> None:
    rows_path = marked.folder / "rows.json"
    process = start(marked, GATEWAY, "demo", "--json", str(rows_path))
    assert process.wait(90) == 0, process.output()
    rows = json.loads(rows_path.read_text())
    came = {(row["protocol"], row["outcome"], row["status"]) for row in rows}
    assert came >= {
        ("REST", "reply", 200),
        ("REST", "reply", 201),
        ("gRPC", "reply", "OK"),
        ("GraphQL", "reply", 200),
        ("gRPC → REST", "reply", 200),
        ("REST", "ServiceRejectedError", 404),
        ("gRPC", "ServiceRejectedError", "NOT_FOUND"),
        ("GraphQL", "GraphQLError", 200),
        ("REST", "ServiceAuthError", 403),
        ("REST", "ServiceFaultError", 500),
        ("REST", "ServiceUnavailableError", 503),
        ("REST", "ServiceUnavailableError", None),
        ("REST", "RateLimitedError", 429),
        ("REST", "CircuitOpenError", None),
        ("REST", "OutcomeUnknownError", None),
        ("REST", "ServiceTimeoutError", None),
        ("REST", "DeadlineExceededError", None),
        ("REST", "UnknownServiceError", None),
        ("REST", "InvalidCallError", None),
    }
    assert all(row["expected"] for row in rows)
    burst = rows[-1]
    assert burst["attempts"] == 200
    assert burst["elapsed_s"] < BURST_BOUND_S
    # What a person reads: the address of Flower, each row, and that all is well.
    output = process.output()
    assert re.search(r"Flower: http://127\.0\.0\.1:\d+", output)
    assert all(row["title"] in output for row in rows)
    assert all(row["correlation_id"] in output for row in rows if row["correlation_id"])
    assert "UNEXPECTED" not in output
    assert no_process_is_left(marked), marked.running()


def test_an_unexpected_outcome_is_marked_and_fails_the_demo(marked: Marked) -> None:
    script = (
        "import dataclasses, gateway.dev.demo_case as cases;"
        "cases.CASES = (dataclasses.replace(cases.CASES[0], status=418), *cases.CASES[1:2]);"
        "from gateway.cli import main; main(['demo'])"
    )
    process = start(marked, sys.executable, "-c", script)
    assert process.wait(90) == 1, process.output()
    assert process.output().count("✗ UNEXPECTED") == 1
    assert "1 of 5 outcomes were not the expected ones" in process.output()
    assert no_process_is_left(marked), marked.running()


def has_started(marked: Marked, process: Process) -> bool:
    return "Started" in process.output()


def is_starting(marked: Marked, process: Process) -> bool:
    return marked.one("user_service") is not None


@pytest.mark.parametrize("moment", [is_starting, has_started])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_stops_everything(
    marked: Marked, number: signal.Signals, code: int, moment: Callable[[Marked, Process], bool]
) -> None:
    process = start(marked, GATEWAY, "demo")
    process.wait_until(lambda: moment(marked, process), timeout=60)
    process.signal(number)
    # People press Ctrl-C again and again; that must not break off the stopping.
    while marked.one("valkey-server") or marked.one("redis-server"):
        process.signal(number)
        time.sleep(0.05)
    assert process.wait(30) == code, process.output()
    assert "Traceback" not in process.output()
    assert no_process_is_left(marked), (marked.running(), marked.left_folders())


def test_a_killed_parent_leaves_no_orphan(marked: Marked) -> None:
    process = start(marked, GATEWAY, "demo")
    wait_for(process, "Started")
    assert len(marked.running()) >= 6, marked.running()
    process.signal(signal.SIGKILL)
    process.wait(10)
    assert no_process_is_left(marked), (marked.running(), marked.left_folders())


def test_dev_says_how_to_call_it_and_stops_on_ctrl_c(marked: Marked) -> None:
    process = start(marked, GATEWAY, "dev")
    wait_for(process, "Ctrl-C stops everything")
    exports = dict(re.findall(r"export (\w+)=(\S+)", process.output()))
    with Gateway.from_env(exports) as gateway:
        reply = gateway.submit(RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"})).result(20)
    assert reply.data["name"] == "Ada Lovelace"
    secrets = {name for name in exports if "KEY" in name}
    assert secrets == {"GATEWAY_CALLER_KEY"}, "a producer needs no secret but its own"
    process.signal(signal.SIGINT)
    assert process.wait(30) == 0, process.output()
    assert no_process_is_left(marked), marked.running()


def test_dev_tells_which_part_died_and_stops_the_rest(marked: Marked) -> None:
    process = start(marked, GATEWAY, "dev")
    wait_for(process, "Ctrl-C stops everything")
    worker = marked.one("workers.app", "worker", "--hostname")
    assert worker is not None
    before = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    assert process.wait(30) == 1, process.output()
    assert time.monotonic() - before < 20
    assert "worker ended with exit code -9" in process.output()
    assert "demo@" in process.output(), "the end of its log is shown"
    (folder,) = re.findall(r"All logs: (\S+)", process.output())
    assert {path.name for path in Path(folder).glob("*.log")} >= {"worker.log", "flower.log", "user-service.log"}
    assert marked.gone_within(5), marked.running()
