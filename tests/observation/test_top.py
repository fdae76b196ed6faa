"""`gateway top` on a real fleet: what it shows is there, and what its keys do is done."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from textual.widgets import DataTable, Static

from gateway import RestCall
from gateway.catalogue import Catalogue
from gateway.cli import main
from gateway.cli.fleet_watch import FleetWatch
from gateway.cli.top_app import TopApp
from gateway.errors import ServiceRejectedError
from gateway.fleet import Fleet
from gateway.settings import Settings
from tests.integration.pool_rig import eventually
from tests.observation.watched import Watched
from tests.servers.conduct import Conduct

CATALOGUE = """
[services.billing]
rest.url = "${COUNTING_URL}"

[services.mail]
rest.url = "${COUNTING_URL}"
limit = { concurrency = 2 }

[services.users]
rest.url = "${COUNTING_URL}"
breaker = { enabled = false }
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Watched(tmp_path_factory.mktemp("watched"), CATALOGUE) as made:
        yield made


@pytest.fixture
def app(watched: Watched) -> Iterator[TopApp]:
    catalogue = Catalogue.load(Path(watched.environ["GATEWAY_CONFIG"]), watched.environ)
    watch = FleetWatch(Settings.from_env(watched.environ), catalogue)
    yield TopApp(watch, catalogue, by="somebody@here")
    watch.close()


@pytest.fixture
def fleet(watched: Watched) -> Iterator[Fleet]:
    with Fleet.open(watched.environ["GATEWAY_RESULT_URL"]) as opened:
        yield opened
        for name in ("billing", "mail", "users"):
            opened.reset_breaker(name)


def rows(app: TopApp, table: str = "services") -> dict[str, list[str]]:
    """The cells of each row, by its key."""
    found = app.query_one(f"#{table}", DataTable)
    return {str(key.value): [str(cell) for cell in found.get_row(key)] for key in found.rows}


def draw(app: TopApp) -> None:
    """The picture of docs/top.md, if it is asked for: `TOP_SVG=docs/top.svg`."""
    if os.environ.get("TOP_SVG"):
        # Without the fonts that it would load from elsewhere.
        drawn = re.sub(r"@font-face \{.*?\}\s*", "", app.export_screenshot(title="gateway top"), flags=re.DOTALL)
        Path(os.environ["TOP_SVG"]).write_text(drawn)


def said(app: TopApp) -> str:
    return str(app.query_one("#said", Static).render())


async def until(holds: Callable[[], object], what: str, timeout: float = 15.0) -> None:
    ends = asyncio.get_running_loop().time() + timeout
    while not holds():
        assert asyncio.get_running_loop().time() < ends, f"not within {timeout:g} s: {what}"
        await asyncio.sleep(0.05)


async def test_it_shows_services_and_workers(app: TopApp, watched: Watched, fleet: Fleet) -> None:
    fleet.open_breaker("mail", by="me", reason="test")
    watched.service.behave("/missing", Conduct(status=404))
    for ended in watched.gateway.submit_many(
        [RestCall("users", "GET", path) for path in ("/", "/", "/", "/missing")], deadline=20.0
    ):
        with suppress(ServiceRejectedError):
            ended.result(timeout=20)
    pending = watched.gateway.submit(RestCall("mail", "GET", "/"), deadline=60.0)
    async with app.run_test(size=(100, 24)):
        await until(lambda: rows(app).get("mail", ["", ""])[1] == "open by hand", "the breaker is seen")
        assert next(iter(rows(app))) == "mail", "what needs somebody comes first"
        assert [*rows(app)["billing"][:2], *rows(app)["billing"][5:7]] == ["billing", "closed", "0/100", "0"]
        await until(lambda: rows(app)["users"][2:5] != ["", "", ""], "that its calls end")
        rate, errors, p99 = rows(app)["users"][2:5]
        assert 0 < float(rate) <= 4
        assert errors == "25%"
        assert re.fullmatch(r"\d+ ms", p99)
        assert rows(app)["users"][1] == "off"
        await until(lambda: rows(app)["mail"][8] == "1", "the parked call is seen")
        await until(lambda: rows(app, "workers"), "the worker answers")
        (worker,) = rows(app, "workers").values()
        assert worker[1:] == [str(watched.worker.pid), "0/200"]
        draw(app)
    fleet.close_breaker("mail", by="me")
    assert pending.result(timeout=30).status == 200


async def test_keys_act_after_a_question(app: TopApp, fleet: Fleet) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: "billing" in rows(app), "it has looked")
        await pilot.press("o", "n")
        assert fleet.states(["billing"])["billing"].breaker.phase == "closed", "it was not meant"
        await pilot.press("o", "y")
        await until(lambda: fleet.states(["billing"])["billing"].breaker.by_hand, "it is open")
        assert fleet.states(["billing"])["billing"].breaker.by == "somebody@here"
        await until(lambda: rows(app)["billing"][1] == "open by hand", "that is shown")
        await pilot.press("c", "y")
        await until(lambda: fleet.states(["billing"])["billing"].breaker.phase == "closed", "it is closed")
        await until(lambda: rows(app)["billing"][1] == "closed", "that is shown")
        await pilot.press("p", "y")
        await until(lambda: rows(app)["billing"][1] == "paused by somebody@here", "it is paused")
        await pilot.press("p", "y")
        await until(lambda: fleet.states(["billing"])["billing"].pause is None, "it is resumed")


async def test_filter_sort_and_help(app: TopApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: len(rows(app)) == 3, "it has looked")
        await pilot.press("slash", "m", "a", "enter")
        assert list(rows(app)) == ["mail"]
        await pilot.press("slash", "backspace", "backspace", "enter", "s")
        assert list(rows(app)) == ["billing", "mail", "users"]
        await pilot.press("question_mark")
        assert "drain the chosen worker" in str(app.screen.query_one(Static).render())
        await pilot.press("x")
        await pilot.press("o", "escape", "down", "down", "o")
        assert "users has no breaker" in said(app)


async def test_a_redis_that_is_away(app: TopApp, watched: Watched) -> None:
    async with app.run_test(size=(80, 24)):
        await until(lambda: len(rows(app)) == 3, "it has looked")
        watched.valkey.process.signal(signal.SIGSTOP)
        try:
            await until(lambda: "does not answer" in said(app), "it says so")
            assert len(rows(app)) == 3, "what was seen last stays"
        finally:
            watched.valkey.process.signal(signal.SIGCONT)
        await until(lambda: "does not answer" not in said(app), "it says no more that nobody does")


def test_once_and_for_programs(watched: Watched) -> None:
    runner = CliRunner(env={**watched.environ, "COLUMNS": "120"})
    eventually(lambda: "worker0@test" in runner.invoke(main, ["top", "--once"]).output, "the worker answers", 30)
    document = json.loads(runner.invoke(main, ["top", "--json"]).output)
    assert document["services"]["mail"]["concurrency"] == 2
    assert document["services"]["mail"]["queued"] == 0
    assert document["workers"]["worker0@test"]["places"] == 200
    nobody = CliRunner(env={**watched.environ, "GATEWAY_RESULT_URL": "redis://127.0.0.1:1/0"}).invoke(
        main, ["top", "--once"]
    )
    assert nobody.exit_code == 1
    assert "does not answer" in nobody.output


def test_workers_are_listed_and_drained_by_commands(tmp_path: Path) -> None:
    with Watched(tmp_path, CATALOGUE) as made:
        runner = CliRunner(env={**made.environ, "COLUMNS": "120"})
        eventually(lambda: "worker0@test" in runner.invoke(main, ["workers"]).output, "the worker answers", 30)
        listed = json.loads(runner.invoke(main, ["workers", "--json"]).output)
        assert listed["worker0@test"]["pid"] == made.worker.pid
        assert listed["worker0@test"]["places"] == 200
        mistaken = runner.invoke(main, ["drain", "worker1@test"])
        assert mistaken.exit_code == 1
        assert "did you mean 'worker0@test'?" in mistaken.output
        made.service.behave("/slow", Conduct(delay_s=1.5))
        pending = made.gateway.submit(RestCall("billing", "GET", "/slow"), deadline=20.0)
        eventually(lambda: made.service.arrivals("/slow"), "it is under way")
        drained = runner.invoke(main, ["drain", "worker0@test"])
        assert drained.exit_code == 0, drained.output
        eventually(lambda: made.worker.exit_code is not None, "it ends", 20)
        assert made.worker.exit_code == 0
        assert pending.result(timeout=5).status == 200
        nobody = runner.invoke(main, ["workers"])
        assert nobody.exit_code == 1
        assert "no worker answers" in nobody.output


async def test_a_worker_is_drained(tmp_path: Path) -> None:
    with Watched(tmp_path, CATALOGUE) as made:
        made.service.behave("/slow", Conduct(delay_s=1.5))
        pending = made.gateway.submit(RestCall("billing", "GET", "/slow"), deadline=20.0)
        catalogue = Catalogue.load(Path(made.environ["GATEWAY_CONFIG"]), made.environ)
        watch = FleetWatch(Settings.from_env(made.environ), catalogue)
        app = TopApp(watch, catalogue, by="somebody@here")
        async with app.run_test(size=(100, 24)) as pilot:
            await until(lambda: rows(app, "workers"), "the worker answers")
            await pilot.press("d", "y")
            await until(lambda: made.worker.exit_code is not None, "it ends", 20)
        watch.close()
        assert made.worker.exit_code == 0
        assert pending.result(timeout=5).status == 200
