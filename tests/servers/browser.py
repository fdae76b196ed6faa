"""A real browser without a window: Debian's Chromium, driven over WebDriver."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

__all__ = ["Browser", "find_browser"]

_T = TypeVar("_T")
#: What Chromium does by itself would look for hosts in the internet.
_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def find_browser() -> tuple[str, str]:
    """The programs of browser and driver.

    Raises:
        FileNotFoundError: says which is missing, and which package has it.
    """
    found = []
    for program in ("chromium", "chromedriver"):
        path = shutil.which(program)
        if path is None:
            package = "chromium-driver" if program == "chromedriver" else program
            raise FileNotFoundError(f"there is no {program} here; install Debian's {package}")
        found.append(path)
    return found[0], found[1]


class Browser:
    """One window of it, until it is left.

    Args:
        folder: takes its profile; a new one.
        login: `user:password` for HTTP's basic authentication; None for none.
        size: of the window, in pixels.
    """

    def __init__(self, folder: Path, *, login: str | None = None, size: tuple[int, int] = (1600, 900)) -> None:
        chromium, driver = find_browser()
        options = ChromeOptions()
        options.binary_location = chromium
        for flag in (*_QUIET, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder}"):
            options.add_argument(flag)
        self.driver = Chrome(options=options, service=ChromeService(driver))
        if login is not None:
            told = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}
            self.driver.execute_cdp_cmd("Network.enable", {})
            self.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": told})

    def open(self, url: str) -> None:
        """Load a page."""
        self.driver.get(url)

    def find(self, selector: str) -> WebElement:
        """The first element of a CSS selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "body") -> str:
        """What a person reads there."""
        return self.find(selector).text

    def rows(self, table: str) -> list[dict[str, str]]:
        """The body of a table as a person reads it, by the titles of its columns; empty if it has none."""
        read: list[dict[str, str]] = self.driver.execute_script(
            "const table = document.querySelector(arguments[0]);"
            "const shown = cell => cell.innerText.trim();"
            "const titles = [...table.querySelectorAll('thead th')].map(cell => cell.textContent.trim());"
            "return [...table.querySelectorAll('tbody tr')]"
            "  .map(row => [...row.cells]).filter(cells => cells.length === titles.length)"
            "  .map(cells => Object.fromEntries(titles.map((title, at) => [title, shown(cells[at])])));",
            table,
        )
        return read

    def wait(self, holds: Callable[[], _T], what: str, timeout: float = 15.0) -> _T:
        """Wait until something is true of the page, and give it."""
        return WebDriverWait(self.driver, timeout, poll_frequency=0.1).until(lambda _: holds(), f"not seen: {what}")

    def save(self, path: Path) -> None:
        """A picture of the window."""
        path.write_bytes(base64.b64decode(self.driver.get_screenshot_as_base64()))

    def errors(self) -> list[Any]:
        """What the page's own scripts complained about."""
        told: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry for entry in told if entry["level"] == "SEVERE"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.driver.quit()
