"""The pages of a site that show charts: of a run, of a suite on a machine, of a suite on several machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attnbench.core.errors import StoredRunError
from attnbench.report.charts.runs import Moment
from attnbench.report.page.content import Earlier, Past, chapter_of, compared
from attnbench.report.page.shell import Shell, asset_files, beside
from attnbench.report.page.writing import write_page
from attnbench.report.site.cards import Verdicts, verdicts_of
from attnbench.report.site.files import write_whole
from attnbench.report.site.machines import machines_chapter
from attnbench.report.site.summaries import (
    Kept,
    KeptSuite,
    Summary,
    run_file,
    slug,
    summary_of,
    write_kept,
)
from attnbench.results.accepted import AcceptedChanges
from attnbench.results.store import read_run

COMPARED = 12
"""Earlier runs that the newest of a suite is compared with."""
DRAWN = 120
"""The newest runs of a suite that its history draws; sparklines and lists have them all."""
_SCRIPTS = ("vega.js", "tables.js", "page.js")


def shell(*scripts: str, up: str = "../", links: Sequence[tuple[str, str]] = ()) -> Shell:
    """Style and scripts of a page of the site.

    Args:
        scripts: What it needs instead of the scripts of charts.
        up: The way to the site's root.
        links: Texts and addresses of other pages.
    """
    return beside(asset_files(), ("tables.js", *scripts) if scripts else _SCRIPTS, up=up, links=links)


def suite_page(summary: Summary) -> str:
    """The address of the history of a run's suite on its machine, from the site's root."""
    return f"suites/{slug(f'{summary.suite} {summary.machine}', summary.group)}.html"


def make_run(directory: Path, site: Path, asked: tuple[str, str]) -> Kept:
    """Read a run and write its page; what is kept of it.

    Args:
        directory: The published one.
        site: The site.
        asked: The run's place below the directory, and the stamp of its files.
    """
    name, stamp = asked
    try:
        run = read_run(directory / name)
    except StoredRunError as error:
        kept = Kept(stamp=stamp, error=str(error), summary=None)
    else:
        chapter = chapter_of("run", run, Past(), {})
        summary = summary_of(run, chapter, name, stamp)
        links = [("All runs", "../index.html"), (f"History of {summary.suite}", f"../{suite_page(summary)}")]
        write_whole(site / summary.page, write_page([chapter], shell(links=links)))
        kept = Kept(stamp=stamp, error="", summary=summary)
    write_kept(site / run_file(name), kept)
    return kept


def make_suite(
    directory: Path, site: Path, accepted: AcceptedChanges, asked: tuple[Sequence[Summary], str]
) -> Verdicts:
    """Write the page of a suite on a machine, its newest run with its history; what is said of that run.

    Args:
        directory: The published one.
        site: The site.
        accepted: Changes that are meant to stay.
        asked: The suite's runs, oldest first, and a stamp of them all.
    """
    (*before, last), stamp = asked
    newest = read_run(directory / last.place)
    compared_with = [read_run(directory / one.place) for one in before[-COMPARED:]]
    comparison = compared(compared_with, newest, accepted.changes)
    past = Past(
        moments=[one.moment for one in before[-DRAWN:]],
        comparison=comparison,
        accepted=accepted.changes,
        earlier=[Earlier(text=_told(one), address=f"../{one.page}") for one in before],
    )
    chapter = chapter_of("suite", newest, past, {})
    links = [("All runs", "../index.html"), ("The newest run alone", f"../{last.page}")]
    page = suite_page(last)
    write_whole(site / page, write_page([chapter], shell(links=links)))
    kept = KeptSuite(stamp=stamp, verdicts=verdicts_of(comparison))
    write_kept(site / page.replace(".html", ".json"), kept)
    return kept.verdicts


def _told(summary: Summary) -> str:
    facts = [summary.moment.started_at[:19], summary.headline, f"torch {summary.moment.torch}", summary.moment.commit]
    return ", ".join(filter(None, facts))


def machines_page(suite: str, newest: Mapping[str, Moment]) -> tuple[str, str] | None:
    """The address and the page of a suite on several machines; None where there is nothing side by side.

    Args:
        suite: Its name.
        newest: By machine, its newest run.
    """
    chapter = machines_chapter(suite, newest) if len(newest) > 1 else None
    if chapter is None:
        return None
    return f"machines/{slug(suite)}.html", write_page([chapter], shell(links=[("All runs", "../index.html")]))
