"""A headless browser for tests, where there is one, and everything that goes wrong in its pages."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (  # no window, and nothing of its own to look up in the network
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 300_000  # [ms] after which a test gives up on anything on a page


@dataclass
class Seen:
    """What a page asked for and complained of."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self, page) -> None:
        def said(message) -> None:
            if message.type == "error":
                self.errors.append(message.text)

        page.on("console", said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def outside(self, *own: str) -> list[str]:
        """Requests that went elsewhere."""
        kept = (*own, "data:", "blob:")
        return [url for url in self.requests if not url.startswith(kept)]


@pytest.fixture(scope="session")
def installed() -> str:
    """The system's browser; tests that need one end here where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium; on Debian and Ubuntu: apt-get install chromium fonts-dejavu")
    return found


@pytest.fixture(scope="module")
def chromium(installed):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # It is told where a browser is, so that it needs none of its own.
        browser = playwright.chromium.launch(executable_path=installed, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium) -> Iterator:
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.seen = Seen()
    page.seen.watch(page)
    yield page
    if folder := os.environ.get("WORKBOOK_SCREENSHOTS"):  # to look at
        name = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split()[0]
        page.screenshot(path=f"{folder}/{name}.png")
    context.close()
