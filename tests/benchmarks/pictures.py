"""The pictures of docs/report.md, from reference results and simulated nights.

``python -m tests.benchmarks.pictures``
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.pages import write_nights
from tests.report.browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "reference" / "amd-epyc-2-cores"
PICTURES = ROOT / "docs" / "pictures"
WIDTH = 980


def attnbench(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "attnbench", *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def take(browser: Browser, page: Path, sections: dict[str, str], *, scheme: str = "light") -> None:
    """Pictures of sections, by the names of their files."""
    dark = scheme == "dark"
    opened = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="dark" if dark else "light")
    opened.goto(page.as_uri())
    if opened.locator(".charts").count():
        opened.wait_for_function("document.documentElement.dataset.drawn === 'yes'", timeout=120_000)
    opened.add_style_tag(content="#filters { position: static }")
    for name, selector in sections.items():
        opened.locator(selector).first.screenshot(path=PICTURES / f"{name}.png")
    opened.close()


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    attnbench("plot", str(REFERENCE / "quick"), "-o", str(PICTURES / "quick.png"))
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        directory = Path(name)
        page = directory / "report.html"
        attnbench("report", str(REFERENCE / "maps-and-windows"), "-o", str(page))
        sections = ("latency", "exponents", "winners", "profile", "roofline", "breakdown")
        take(browser, page, {"answer": ".answer", **{one: f"#chapter-1-{one}" for one in sections}})
        write_nights(directory / "nights", 24, machines=("epyc", "m2"), suites=("quick",))
        attnbench("publish", str(directory / "nights"), "-o", str(directory / "site"))
        take(browser, directory / "site" / "index.html", {"site": ".cards"}, scheme="dark")
        history = next((directory / "site" / "suites").glob("quick-epyc-*.html"))
        take(browser, history, {"history": "#suite-history figure"})


if __name__ == "__main__":
    main()
