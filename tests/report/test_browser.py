"""The page in a real browser: opened from disk without a network, every chart looked at, every control used."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from attnbench.report.page.content import chapters
from attnbench.report.page.embedding import visible
from attnbench.report.page.writing import write_page
from attnbench.report.site.publishing import publish
from attnbench.results.accepted import Accepted
from attnbench.results.store import StoredRun
from tests.report.browser import NARROW, WIDE, Opened, chromium, opened, serious
from tests.report.samples import HOSTILE, days, hostile_run, swept
from tests.report.test_publish import write_runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow
# What a chart draws besides its axes: symbols, lines, bars, texts.
MARKS = ".plot svg .mark-symbol path, .plot svg .mark-rect path, .plot svg .mark-line path"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By name, a page of every kind."""
    directory = tmp_path_factory.mktemp("pages")
    accepted = [Accepted(case="stage 1", backend="sdpa", since="2026-01-07T00:00:00+00:00", why="safer")]
    kinds: dict[str, tuple[list[StoredRun], list[Accepted]]] = {
        "sweep": ([swept()], []),
        "history": (days(12), accepted),
        "machines": ([swept(), swept(device_name="Other", fingerprint={"device_name": "Other"})], []),
        "hostile": ([hostile_run()], []),
    }
    for name, (runs, changes) in kinds.items():
        (directory / f"{name}.html").write_text(write_page(chapters(runs, changes)), encoding="utf-8")
    return {name: directory / f"{name}.html" for name in kinds}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    write_runs(directory / "runs", 9)
    publish(directory / "runs", directory / "site")
    return directory / "site"


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("kind", ["sweep", "history", "machines", "hostile"])
def test_a_page_opens_from_disk_without_a_network_and_draws_every_chart(
    browser: Browser, pages: dict[str, Path], kind: str, width: int
) -> None:
    with opened(browser, pages[kind], width=width) as found:
        assert found.complaints == []
        assert found.asked == [pages[kind].as_uri()]
        charts = found.page.locator("figure")
        assert charts.count() > 0
        for chart in charts.all():
            title = chart.locator("figcaption").inner_text()
            assert chart.locator(MARKS).count() > 0, title
            box = chart.locator(".plot svg").bounding_box()
            assert box is not None, title
            assert box["width"] > 250, title
            assert box["height"] > 60, title
            name = chart.locator("[role=img]").first.get_attribute("aria-label")
            assert name, title
            inside = "svg => { const {x, width} = svg.getBBox(); return [x, x + width, svg.clientWidth]; }"
            left, right, room = chart.locator(".plot svg").evaluate(inside)
            assert left >= -1, title
            assert right <= room + 1, title


@pytest.mark.parametrize("colors", ["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("kind", ["sweep", "history", "hostile"])
def test_axe_finds_nothing_serious(
    browser: Browser, pages: dict[str, Path], kind: str, width: int, colors: Literal["light", "dark"]
) -> None:
    with opened(browser, pages[kind], width=width, colors=colors) as found:
        found.page.locator(".opener").first.click()
        assert serious(found) == []


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("kind", ["sweep", "history", "hostile"])
def test_text_is_readable_and_nothing_sticks_out(
    browser: Browser, pages: dict[str, Path], kind: str, width: int
) -> None:
    with opened(browser, pages[kind], width=width) as found:
        check_readable(found, width)


def check_readable(found: Opened, width: int) -> None:
    assert found.evaluate("document.documentElement.scrollWidth") <= width
    smallest = found.evaluate(
        """() => {
            const says = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
            const shown = [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility() && says(one));
            return Math.min(...shown.map((one) => parseFloat(getComputedStyle(one).fontSize)));
        }"""
    )
    assert smallest >= 10
    # At least half of a narrow screen is left to the other columns of a table whose first one stays in place.
    first = found.evaluate(
        "Math.max(...[...document.querySelectorAll('td:first-child')].map((one) => one.offsetWidth))"
    )
    assert first <= max(width / 2, 420)


def test_filters_change_charts_rows_and_the_address_which_keeps_them(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["sweep"]) as found:
        before = found.page.locator(MARKS).count()
        rows = found.page.locator(".cells tbody tr").count()
        found.page.get_by_role("checkbox", name="naive").uncheck()
        found.wait_until_drawn()
        assert found.page.locator(MARKS).count() < before
        assert found.page.locator(".cells tbody tr").count() == rows - 6
        assert "naive" not in found.texts(".cells tbody td:nth-child(2)")
        assert "7 of 13 cells" in found.page.locator("#filtered").inner_text()
        assert found.page.url.endswith("#no-backend=naive")
        found.page.reload()
        found.wait_until_drawn()
        assert not found.page.get_by_role("checkbox", name="naive").is_checked()
        assert found.page.locator(".cells tbody tr").count() == rows - 6
        found.page.get_by_role("button", name="Show all", exact=True).click()
        found.wait_for_count(MARKS, before)
        assert found.complaints == []


def test_a_filter_that_leaves_nothing_draws_empty_charts_and_complains_of_nothing(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with opened(browser, pages["sweep"]) as found:
        for name in ("naive", "sdpa", "flash_attn"):
            found.page.get_by_role("checkbox", name=name).uncheck()
        found.wait_until_drawn()
        assert found.page.locator(".cells tbody tr").count() == 0
        assert found.complaints == []


def test_all_cells_sort_by_a_click_and_the_address_keeps_the_order(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["sweep"]) as found:
        header = found.page.locator(".cells").get_by_role("button", name="latency ms")

        def latencies() -> list[float]:
            return [float(text) for text in found.texts(".cells tbody td:nth-child(4)") if text]

        header.click()
        assert latencies() == sorted(latencies())
        header.click()
        assert latencies() == sorted(latencies(), reverse=True)
        assert "sort=latency_ms&order=descending" in found.page.url
        found.page.reload()
        found.wait_until_drawn()
        assert latencies() == sorted(latencies(), reverse=True)
        assert found.page.locator(".cells th[aria-sort=descending]").inner_text().startswith("latency ms")
        assert not found.texts(".cells tbody tr:last-child td:nth-child(4)")[0]  # the failed one stands last


def test_other_tables_sort_by_number_and_not_by_text(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["history"]) as found:
        table = found.page.locator("#chapter-1-changes")
        table.get_by_role("button", name="ratio").click()
        ratios = [float(text) for text in table.locator("tbody td:nth-child(4)").all_inner_texts()]
        assert ratios == sorted(ratios)


def test_a_row_opens_by_the_keyboard_on_its_command(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["sweep"]) as found:
        found.page.keyboard.press("Tab")
        assert found.evaluate("document.activeElement.textContent") == "Skip to the answer"
        opener = found.page.get_by_role("button", name="More on map 14 float32, naive")
        opener.focus()
        found.page.keyboard.press("Enter")
        assert opener.get_attribute("aria-expanded") == "true"
        assert "attnbench run cell.yaml" in found.page.locator("tr.details pre").inner_text()
        found.page.get_by_role("button", name="Copy").click()
        found.page.get_by_role("button", name="Copied").wait_for()
        opener.press("Enter")
        assert found.page.locator("tr.details").count() == 0


def test_the_csv_holds_the_rows_that_are_shown(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    with opened(browser, pages["sweep"], address="#no-backend=naive&sort=latency_ms") as found:
        with found.page.expect_download() as download:
            found.page.get_by_role("button", name="Download these rows as CSV").click()
        assert download.value.suggested_filename == "cells.csv"
        file = tmp_path / "cells.csv"
        download.value.save_as(file)
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert list(rows[0]) == list(swept().table.columns)
    assert {row["backend"] for row in rows} == {"sdpa", "flash_attn"}
    latencies = [float(row["latency_ms"]) for row in rows if row["latency_ms"]]
    table = swept().table
    expected = sorted(table[table["backend"] == "sdpa"]["latency_ms"])
    assert latencies == pytest.approx(expected, rel=1e-6)


def test_names_show_as_text_and_run_nothing(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["hostile"]) as found:
        for axis in found.page.locator(".choice select").all():
            axis.select_option(index=1)
        found.page.locator(".opener").first.click()
        found.page.locator(".plot svg .mark-symbol path").first.hover(force=True)
        found.wait_until_drawn()
        assert found.complaints == []
        assert found.page.locator("img, iframe, b, a[href^=javascript]").count() == 0
        assert visible(HOSTILE) in found.page.locator("h2").inner_text()
        assert visible(HOSTILE) in found.texts(".cells tbody td:nth-child(2)")
        assert visible(HOSTILE) in " ".join(found.texts("#tooltip"))


def test_a_hidden_tooltip_appears_over_a_point_and_goes(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["sweep"]) as found:
        found.page.locator("#chapter-1-latency .mark-symbol path").first.hover(force=True)
        assert "backend: " in found.page.locator("#tooltip").inner_text()
        found.page.locator("h1").hover()
        assert not found.page.locator("#tooltip").is_visible()


def test_the_page_prints_without_its_controls(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["sweep"], colors="dark") as found:
        found.page.emulate_media(media="print")
        assert not found.page.locator("#filters").is_visible()
        assert not found.page.get_by_role("button", name="Download these rows as CSV").is_visible()
        assert found.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert len(found.page.pdf()) > 20_000


def test_a_link_leads_to_a_section(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["sweep"], address="#chapter-1-roofline") as found:
        found.page.wait_for_timeout(200)
        top = found.evaluate("document.getElementById('chapter-1-roofline').getBoundingClientRect().top")
        assert -5 <= top <= 700
        assert found.page.url.endswith("#chapter-1-roofline")


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_a_site_can_be_searched_and_walked_through(browser: Browser, site: Path, width: int) -> None:
    with opened(browser, site / "index.html", width=width) as found:
        check_readable(found, width)
        assert serious(found) == []
        assert found.page.locator(".card").count() == 3
        assert found.page.locator("#runs tbody tr").count() == 9
        assert found.page.locator(".spark path").count() > 0
        found.page.get_by_label("Search").fill("m2")
        assert found.page.locator(".card:visible").count() == 1
        assert found.page.locator("#runs tbody tr:visible").count() == 3
        assert found.page.url.endswith("#q=m2")
        found.page.reload()
        assert found.page.locator(".card:visible").count() == 1
        found.page.locator(".card:visible h2 a").click()
        found.wait_until_drawn()
        assert "Use sdpa" in found.page.locator("h2").inner_text()
        assert found.page.locator("#suite-history figure").count() > 0
        check_readable(found, width)
        assert serious(found) == []
        found.page.get_by_role("link", name="The newest run alone").click()
        found.wait_until_drawn()
        found.page.get_by_role("link", name="All runs").click()
        found.page.get_by_role("link", name="quick").first.click()
        found.wait_until_drawn()
        assert "on 3 machines" in found.page.locator("h2").inner_text()
        assert found.complaints == []
        assert all(address.startswith("file:") for address in found.asked)
