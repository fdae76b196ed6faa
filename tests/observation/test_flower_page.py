"""Flower as an operator sees it, in a real browser, beside what the producers got.

`FLOWER_PICTURES=docs` saves the pictures of the documents.
"""

import asyncio
import os
import re
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway import Gateway, PendingCall, RestCall
from gateway.cli import main
from gateway.dev.demo import BURST, ENQUEUED, Demo
from gateway.dev.demo_row import Row
from gateway.dev.stack import Stack
from gateway.errors import CallCancelledError
from tests.servers.browser import Browser, find_browser

USER = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"})
BUSY = RestCall("busy", "GET", "/users/{user_id}", path={"user_id": "123"})

TABLE = "#tasks-table"
#: Rows that a page of it has.
PAGE = 15


class Page:
    """Flower's pages of a stack that the demo's calls went through, and a browser that looks at them."""

    def __init__(self, stack: Stack, rows: list[Row], browser: Browser) -> None:
        self.stack = stack
        self.rows = [row for row in rows if row.correlation_id is not None]
        self.browser = browser

    def search(self, text: str, count: int) -> list[dict[str, str]]:
        """Type it into the search box; the first rows, once Flower says that it found so many."""
        self.browser.open(f"{self.stack.flower.url}/tasks")
        box = self.browser.wait(lambda: self.browser.find("input[type=search]"), "the search box")
        box.clear()
        box.send_keys(text)
        shown = min(count, PAGE)
        self.browser.wait(
            lambda: (
                f"Showing 1 to {shown} of {count} tasks" in self.browser.text(".dt-footer")
                and len(self.browser.rows(TABLE)) == shown
            ),
            f"{count} that match {text}",
        )
        return self.browser.rows(TABLE)

    def call(self, call_id: str) -> str:
        """The page of one call, in one line."""
        self.browser.open(f"{self.stack.flower.url}/task/{call_id}")
        return re.sub(r"\s+", " ", self.browser.text("#task-page"))

    def save(self, name: str) -> None:
        if os.environ.get("FLOWER_PICTURES"):
            self.browser.save(Path(os.environ["FLOWER_PICTURES"]) / f"{name}.png")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    try:
        find_browser()
    except FileNotFoundError as error:
        pytest.skip(f"no page is looked at: {error}")
    with Stack() as stack:
        rows = asyncio.run(Demo(stack, lambda row: None).run())
        assert all(row.expected for row in rows)
        stack.processes[-1].wait_until(lambda: len(stack.flower.finished()) == ENQUEUED, timeout=20)
        with Browser(tmp_path_factory.mktemp("browser"), login=stack.flower.login) as browser:
            yield Page(stack, rows, browser)
            assert [error for error in browser.errors() if "favicon" not in str(error)] == []


def expected_of(row: Row) -> tuple[str, str]:
    """State and beginning of the result that a row's call has in Flower."""
    if row.outcome == "reply":
        return "SUCCESS", f"{row.status} in "
    return "FAILURE", f"{row.outcome}("


def seconds(runtime: str) -> float:
    """Of what the page shows, such as `325.56 ms` or `1.2 s`."""
    number, unit = runtime.split()
    return float(number) / {"s": 1, "ms": 1000}[unit]


def test_each_call_is_found_by_its_correlation_id_and_says_what_its_producer_got(page: Page) -> None:
    alone = [row for row in page.rows if row.attempts < BURST and "→" not in row.protocol]
    assert len({row.outcome for row in alone}) >= 12, "of every outcome"
    for row in alone:
        (shown,) = page.search(f"kwargs:correlation_id={row.correlation_id}", 1)
        state, result = expected_of(row)
        assert shown["State"] == state, (row, shown)
        assert shown["Result"].startswith(result), (row, shown)
        assert "\n" not in shown["Result"]
        assert f"correlation_id={row.correlation_id} " in shown["kwargs"]
        if row.status is not None:
            assert str(row.status) in shown["Result"], (row, shown)


def test_a_correlation_id_finds_all_calls_that_have_it_and_no_others(page: Page) -> None:
    (burst,) = [row for row in page.rows if row.attempts == BURST]
    page.search(f"kwargs:correlation_id={burst.correlation_id}", BURST)
    (chain,) = [row for row in page.rows if "→" in row.protocol]
    steps = page.search(f"kwargs:correlation_id={chain.correlation_id}", 2)
    assert [step["State"] for step in steps] == ["SUCCESS", "SUCCESS"]
    assert {step["Name"] for step in steps} == {
        "user-service goodgo.user.v1.UserService/GetUser",
        "user-service GET /users/{user_id}",
    }
    # It is not a part of another one: searching for the text itself finds those too.
    cut = str(chain.correlation_id)[:-1]
    page.search(cut, 2)
    page.browser.find("input[type=search]").clear()
    page.browser.find("input[type=search]").send_keys(f"kwargs:correlation_id={cut}")
    page.browser.wait(lambda: "No tasks to show" in page.browser.text(".dt-footer"), "nothing")


def test_calls_are_found_by_service_caller_and_error(page: Page) -> None:
    known = page.stack.flower.tasks()
    of_partner = [task for task in known if task["name"].startswith("partner ")]
    assert len(of_partner) == 6
    assert {row["Name"].split()[0] for row in page.search("name:partner", len(of_partner))} == {"partner"}
    page.search("kwargs:caller=demo", len(known))
    timed_out = page.search("result:ServiceTimeoutError", 2)
    assert {row["Result"].partition("(")[0] for row in timed_out} == {"ServiceTimeoutError", "OutcomeUnknownError"}
    assert all(row["Name"].startswith("partner ") for row in timed_out)
    (refused,) = page.search("result:NOT_FOUND name:user-service", 1)
    assert refused["Result"].startswith("ServiceRejectedError(")
    failed = sum(task["state"] == "FAILURE" for task in known)
    page.search("state:FAILURE", failed)
    page.save("flower")


def test_the_api_says_the_same_as_the_producers_got(page: Page) -> None:
    told = page.stack.flower.tasks()
    assert Counter(task["state"] for task in told) == {
        "SUCCESS": sum(task["state"] == "SUCCESS" for task in told),
        "FAILURE": sum(row.outcome != "reply" for row in page.rows),
    }, "no other state is left"
    for row in page.rows:
        mine = [task for task in told if f"'correlation_id': '{row.correlation_id}'" in task["kwargs"]]
        assert mine, row
        for task in mine:
            state, result = expected_of(row)
            if task["name"].endswith("/GetUser") and row.outcome == "reply":
                result = "OK in "  # the chain's row has the status of its second step alone
            assert task["state"] == state, (row, task)
            assert task["result"].startswith(result), (row, task)
            assert task["runtime"] is not None, (row, task)
            assert task["worker"].startswith("demo@"), (row, task)
            if state == "SUCCESS":
                assert task["exception"] is task["traceback"] is None, (row, task)
            else:
                assert task["exception"].startswith(row.outcome), (row, task)
            if len(mine) == 1 and row.protocol == "REST":
                # What the producer measured is longer: it has the way there and back, and what the call was parked.
                assert task["runtime"] <= row.elapsed_s, (row, task)


def test_runtimes_are_those_of_the_service(page: Page) -> None:
    (slow,) = [row for row in page.rows if row.title == "a service that takes 300 ms"]
    (shown,) = page.search(f"kwargs:correlation_id={slow.correlation_id}", 1)
    assert 0.3 <= seconds(shown["Runtime"]) < slow.elapsed_s
    (hung,) = [row for row in page.rows if row.title.startswith("it never answers a POST")]
    (shown,) = page.search(f"kwargs:correlation_id={hung.correlation_id}", 1)
    assert 0.4 <= seconds(shown["Runtime"]) <= hung.elapsed_s, "of what failed too"


def pause(page: Page, *arguments: str) -> None:
    done = CliRunner(env=page.stack.environ).invoke(main, arguments)
    assert done.exit_code == 0, done.output


def parked(page: Page, gateway: Gateway, correlation_id: str) -> PendingCall:
    pending = gateway.submit(BUSY, correlation_id=correlation_id, deadline=60.0)
    page.browser.wait(lambda: pending.state.value == "parked", "that it is parked")
    return pending


def test_a_parked_call_says_why_until_it_goes_on(page: Page) -> None:
    with Gateway.from_env(page.stack.environ) as gateway:
        # What the demo was told of this service may hold it for a while yet.
        pause(page, "pause", "busy", "--reason", "migration until noon")
        pending = parked(page, gateway, f"paused-{time.time_ns()}")
        (shown,) = page.search(f"{pending.id} state:RETRY", 1)
        assert shown["Result"] == "parked: paused", shown
        page.save("flower-parked")
        assert "RETRY" in page.call(pending.id)
        assert "Revoke" in page.call(pending.id), "it can be cancelled from there"
        pause(page, "resume", "busy")
        assert pending.result(timeout=60).status == 200
        (shown,) = page.search(f"{pending.id} state:SUCCESS", 1)
        assert shown["Result"].startswith("200 in ")
        text = page.call(pending.id)
        assert "parked" not in text, "what it waited for is over"
        assert "Exception" not in text


def test_a_parked_call_can_be_revoked(page: Page) -> None:
    with Gateway.from_env(page.stack.environ) as gateway:
        pause(page, "pause", "busy")
        pending = parked(page, gateway, f"paused-{time.time_ns()}")
        page.search(f"{pending.id} state:RETRY", 1)
        page.call(pending.id)
        page.browser.find("#task-revoke").click()
        page.browser.wait(lambda: "revoked" in page.browser.text("#toast-container").lower(), "that it is revoked")
        pause(page, "resume", "busy")
        with pytest.raises(CallCancelledError) as cancelled:
            pending.result(timeout=60)
        assert cancelled.value.delivery == "not_sent"
        (shown,) = page.search(f"{pending.id} state:FAILURE", 1)
        assert shown["Result"].startswith("CallCancelledError(")


def test_the_page_of_a_call_has_its_outcome_and_nothing_of_its_payload(page: Page) -> None:
    (row,) = [row for row in page.rows if row.title.startswith("create a user")]
    (shown,) = page.search(f"kwargs:correlation_id={row.correlation_id}", 1)
    text = page.call(shown["UUID"].split()[0])
    assert "user-service POST /users" in text
    assert f"correlation_id={row.correlation_id}" in text
    assert "201 in " in text
    assert "Edsger" not in text
    page.save("flower-call")


def test_without_the_login_there_is_no_page(page: Page, tmp_path: Path) -> None:
    address = urllib.parse.urlsplit(page.stack.flower.url)
    for login in (None, "gateway:wrong"):
        with Browser(tmp_path / f"browser-{login is None}", login=login) as browser:
            for path in ("/tasks", "/workers", "/broker", "/metrics"):
                browser.open(f"http://{address.netloc}{path}")
                assert "user-service" not in browser.driver.page_source
                assert "demo@" not in browser.driver.page_source


def test_all_that_it_knew_survives_its_restart(page: Page) -> None:
    before = {task["uuid"]: (task["state"], task["result"]) for task in page.stack.flower.tasks()}
    page.stack.restart_flower()
    assert {task["uuid"]: (task["state"], task["result"]) for task in page.stack.flower.tasks()} == before
    (row,) = [row for row in page.rows if row.title == "it answers 500"]
    (shown,) = page.search(f"kwargs:correlation_id={row.correlation_id}", 1)
    assert shown["Result"].startswith("ServiceFaultError("), "and its search too"
    with Gateway.from_env(page.stack.environ) as gateway:
        pending = gateway.submit(USER, correlation_id="after-the-restart")
        assert pending.result(timeout=15).status == 200
    (shown,) = page.search("kwargs:correlation_id=after-the-restart state:SUCCESS", 1)
    page.search("kwargs:caller=demo", len(before) + 1)
