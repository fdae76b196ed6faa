"""Whatever a process writes about itself passes one place: handlers of anybody, and what Python prints itself."""

import asyncio
import io
import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest

from gateway.log_guard import LogGuard
from gateway.redaction import REDACTED, Redactor


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    redactor = Redactor()
    redactor.register("plain-canary")
    guard = LogGuard(redactor)
    guard.install()
    assert repr(guard) == "<LogGuard installed>"
    yield
    guard.remove()
    assert repr(guard) == "<LogGuard not installed>"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.Logger("tests.log_guard")
    yield made
    for handler in made.handlers:
        handler.close()


def _redacted(written: "io.StringIO | pytest.CaptureFixture[str]") -> str:
    text = written.getvalue() if isinstance(written, io.StringIO) else written.readouterr().err
    assert REDACTED in text
    assert "canary" not in text
    return text


def test_a_handler_that_is_added_later(capsys: pytest.CaptureFixture[str], logger: logging.Logger) -> None:
    into = io.StringIO()
    handler = logging.StreamHandler(into)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.addHandler(logging.StreamHandler(into))
    try:
        raise ValueError("plain-canary") from KeyError("plain-canary")
    except ValueError:
        logger.exception("sent %s", {"a": "plain-canary"})
    assert f"KeyError: '{REDACTED}'" in _redacted(into)
    assert capsys.readouterr().err == ""


def test_a_record_that_cannot_be_formatted_is_told_in_the_log(
    capsys: pytest.CaptureFixture[str], logger: logging.Logger
) -> None:
    into = io.StringIO()
    logger.addHandler(logging.StreamHandler(into))
    logger.error("plain-canary %d", "plain-canary")
    assert "%d" in _redacted(into)
    assert capsys.readouterr().err == ""


def test_a_line_that_cannot_be_written_is_told_on_stderr(
    capsys: pytest.CaptureFixture[str], logger: logging.Logger
) -> None:
    into = io.StringIO()
    logger.addHandler(logging.StreamHandler(into))
    into.close()
    logger.error("sent %s", "plain-canary")
    text = _redacted(capsys)
    assert f"sent {REDACTED}" in text
    assert "I/O operation on closed file" in text


def test_an_exception_that_nobody_handles(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("plain-canary")
    except ValueError:
        sys.excepthook(*sys.exc_info())
    assert "ValueError" in _redacted(capsys)


def test_in_a_thread(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("plain-canary")

    thread = threading.Thread(target=fail, name="any")
    thread.start()
    thread.join()
    assert "Exception in thread any" in _redacted(capsys)


def test_where_nobody_could_handle_it(capsys: pytest.CaptureFixture[str]) -> None:
    class Fails:
        def __del__(self) -> None:
            raise ValueError("plain-canary")

    Fails()
    assert "ValueError" in _redacted(capsys)


def test_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    warnings.showwarning("plain-canary", UserWarning, __file__, 1)
    assert "UserWarning" in _redacted(capsys)


def test_a_task_whose_exception_nobody_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    into = io.StringIO()
    handler = logging.StreamHandler(into)
    logging.getLogger("asyncio").addHandler(handler)

    async def fail() -> None:
        raise ValueError("plain-canary")

    async def forget() -> None:
        task = asyncio.create_task(fail())
        await asyncio.wait([task])

    try:
        asyncio.run(forget())
    finally:
        logging.getLogger("asyncio").removeHandler(handler)
    assert "never retrieved" in _redacted(into)


def test_a_stderr_that_is_closed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        warnings.showwarning("plain-canary", UserWarning, __file__, 1)
