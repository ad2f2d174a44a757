"""A headless Chromium without a network, and what it says of a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NARROW, WIDE = 390, 1280
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of this machine."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[browser]'", exc_type=ImportError)
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    # A container's root may not make the name spaces of a sandbox.
    sandbox = os.getuid() != 0
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=sandbox)
        yield browser
        browser.close()


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A page as it was opened, and what went wrong since."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Addresses of everything that was loaded."""

    def wait_until_drawn(self) -> None:
        self.page.wait_for_function("document.documentElement.dataset.drawn === 'yes'", timeout=60_000)

    def wait_for_count(self, selector: str, count: int) -> None:
        """Wait until so many elements are there: on a loaded machine a click may act after it was made."""
        counts = "([selector, count]) => document.querySelectorAll(selector).length === count"
        self.page.wait_for_function(counts, arg=[selector, count], timeout=60_000)

    def evaluate(self, script: str) -> Any:
        return self.page.evaluate(script)

    def texts(self, selector: str) -> list[str]:
        return [str(text) for text in self.page.locator(selector).all_inner_texts()]


@contextmanager
def opened(
    browser: Browser,
    file: Path,
    *,
    width: int = WIDE,
    colors: Literal["light", "dark"] = "light",
    address: str = "",
) -> Iterator[Opened]:
    """A page opened from disk, without a network, until all its charts are drawn."""
    context = browser.new_context(
        offline=True, viewport={"width": width, "height": 900}, color_scheme=colors, accept_downloads=True
    )
    page = context.new_page()
    found = Opened(page=page)
    page.on("console", lambda message: found.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("dialog", lambda dialog: found.complaints.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: found.asked.append(request.url))
    page.goto(file.as_uri() + address)
    if page.locator(".charts").count():
        found.wait_until_drawn()
    yield found
    context.close()


def serious(found: Opened) -> list[str]:
    """What axe-core finds wrong with a page, if it is serious."""
    source = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    found.page.evaluate(source)
    report = found.page.evaluate("axe.run({preload: false})")  # the page lets it load nothing
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]} ({len(one['nodes'])} places)"
        for one in report["violations"]
        if one["impact"] in ("serious", "critical")
    ]
