"""A site made of a directory of runs: what did not change since the last time is left as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import ClassVar

from attnbench.core.errors import StoredRunError
from attnbench.core.files import load
from attnbench.report.charts.runs import Moment
from attnbench.report.page.content import Chapter, Earlier, Past, chapter_of, compared
from attnbench.report.page.shell import Shell, asset_files, beside
from attnbench.report.page.writing import write_page
from attnbench.report.site.cards import Verdicts, verdicts_of
from attnbench.report.site.files import SiteFiles
from attnbench.report.site.index import Shown, write_index
from attnbench.report.site.machines import machines_chapter
from attnbench.report.site.summaries import Kept, Summary, digest, read_kept, slug, stamp_of, summary_of
from attnbench.results.accepted import AcceptedChanges
from attnbench.results.journal import ENVIRONMENT, JOURNAL, SUITE
from attnbench.results.store import CSV, PARQUET, StoredRun, is_run, read_run, run_places

COMPARED = 20
"""Earlier runs that the newest of a suite is compared with."""
DRAWN = 200
"""The newest runs of a suite that its history draws; sparklines and lists have them all."""
_READ = (JOURNAL, PARQUET, CSV, ENVIRONMENT, SUITE)
_MOST_CELLS = 100_000
"""Cells of runs that are kept in memory, because the history of their suite will ask for them again."""
_SCRIPTS = ("vega.js", "tables.js", "page.js")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a publication did."""

    runs: int
    written: int
    """Files that were written anew."""
    left_out: tuple[tuple[str, str], ...]
    """Runs that are not on the site, and why."""


@dataclass(frozen=True, kw_only=True)
class _Suite:
    """The page of a suite on a machine, as it was last written."""

    VERSION: ClassVar[int] = 1

    stamp: str
    verdicts: Verdicts


def publish(directory: Path, site: Path, accepted: AcceptedChanges = AcceptedChanges()) -> Published:  # noqa: B008 - it is frozen
    """Make or renew a site.

    Pages come before the index that names them, and go after it: whoever reads meanwhile finds every page.

    Args:
        directory: The runs.
        site: Where to write; it is made where it is missing.
        accepted: Changes that are meant to stay.

    Raises:
        StoredRunError: No run below the directory can be read.
        OutputError: The site's directory holds something else.
        LostOutputError: It cannot be written; what was there before still is.
    """
    places = [directory] if is_run(directory) else run_places(directory)
    if not places:
        raise StoredRunError(f"{directory} holds no run; give a directory of run directories")
    made_by = _made_by()
    files = SiteFiles(site)
    reader = _Reader(directory, files, made_by)
    kept = {place: reader.kept(place) for place in places}
    summaries, left_out = _distinct(directory, kept)
    if not summaries:
        raise StoredRunError(next(why for _, why in left_out))
    for name, text in asset_files().items():
        files.write(f"assets/{name}", text)
    shown = [
        _publish_suite(members, reader, files, accepted, made_by) for members in _grouped(summaries, _group).values()
    ]
    machines = _publish_machines(summaries, files)
    files.write("index.html", write_index(shown, machines, left_out, _shell("index.js", up="")))
    files.remove_others()
    return Published(runs=len(summaries), written=files.written, left_out=tuple(left_out))


def _shell(*scripts: str, up: str = "../", links: Sequence[tuple[str, str]] = ()) -> Shell:
    names = ("tables.js", *scripts) if scripts else _SCRIPTS
    return beside(asset_files(), names, up=up, links=links)


class _Reader:
    """Reads runs, writes their pages where they changed, and keeps what the next publication needs."""

    def __init__(self, directory: Path, files: SiteFiles, made_by: str) -> None:
        self._directory = directory
        self._files = files
        self._made_by = made_by
        self._recent: dict[str, StoredRun] = {}

    def kept(self, place: Path) -> Kept:
        """What is known of a run; read anew if it changed."""
        name = _name(self._directory, place)
        file = f"runs/{slug(name)}.json"
        stamp = stamp_of(place, _READ, self._made_by)
        kept = read_kept(self._files.root / file, stamp)
        if kept is not None and (kept.summary is None or self._files.has(kept.summary.page)):
            self._files.keep(file, *([kept.summary.page] if kept.summary else []))
            return kept
        kept = self._made(place, name, stamp)
        self._files.write(file, json.dumps(kept.to_json(), separators=(",", ":")))
        return kept

    def _made(self, place: Path, name: str, stamp: str) -> Kept:
        try:
            run = read_run(place)
        except StoredRunError as error:
            return Kept(stamp=stamp, error=str(error), summary=None)
        self._remember(name, run)
        chapter = chapter_of("run", run, Past(), {})
        summary = summary_of(run, chapter, name)
        links = [("All runs", "../index.html"), (f"History of {summary.suite}", f"../{suite_page(summary)}")]
        self._files.write(summary.page, write_page([chapter], _shell(links=links)))
        return Kept(stamp=stamp, error="", summary=summary)

    def run(self, summary: Summary) -> StoredRun:
        """A run that was summed up."""
        found = self._recent.get(summary.place)
        return read_run(self._directory / summary.place) if found is None else found

    def _remember(self, name: str, run: StoredRun) -> None:
        self._recent[name] = run
        while sum(len(one.table) for one in self._recent.values()) > _MOST_CELLS:
            self._recent.pop(next(iter(self._recent)))


def _name(directory: Path, place: Path) -> str:
    return "." if place == directory else place.relative_to(directory).as_posix()


def _distinct(directory: Path, kept: Mapping[Path, Kept]) -> tuple[list[Summary], list[tuple[str, str]]]:
    """Every run once, oldest first; and what is left out, with the reason."""
    found: dict[str, Summary] = {}
    left_out = []
    for place, one in kept.items():
        if one.summary is None:
            left_out.append((_name(directory, place), one.error))
        elif one.summary.identity in found:
            left_out.append((one.summary.place, f"it is a copy of {found[one.summary.identity].place}"))
        else:
            found[one.summary.identity] = one.summary
    return sorted(found.values(), key=lambda one: (one.moment.started_at, one.place)), left_out


def _grouped(summaries: Sequence[Summary], key: Callable[[Summary], str]) -> dict[str, list[Summary]]:
    groups: dict[str, list[Summary]] = {}
    for summary in summaries:
        groups.setdefault(key(summary), []).append(summary)
    return groups


def _group(summary: Summary) -> str:
    return summary.group


def suite_page(summary: Summary) -> str:
    """The address of the history of a run's suite on its machine, from the site's root."""
    return f"suites/{slug(f'{summary.suite} {summary.machine}', summary.group)}.html"


def _publish_suite(
    members: Sequence[Summary], reader: _Reader, files: SiteFiles, accepted: AcceptedChanges, made_by: str
) -> Shown:
    """The page of a suite on a machine: its newest run, and its history."""
    page, file = suite_page(members[-1]), suite_page(members[-1]).replace(".html", ".json")
    stamp = digest(repr([made_by, accepted.changes, [(one.place, one.identity, one.moment) for one in members]]))
    try:
        known = load(_Suite, files.root / file, version=_Suite.VERSION, what="the summary of a suite")
    except StoredRunError:
        known = None
    if known is not None and known.stamp == stamp and files.has(page):
        files.keep(page, file)
        return Shown(runs=members, page=page, verdicts=known.verdicts)
    *before, newest = members
    comparison = compared([reader.run(one) for one in before[-COMPARED:]], reader.run(newest), accepted.changes)
    past = Past(
        moments=[one.moment for one in before[-DRAWN:]],
        comparison=comparison,
        accepted=accepted.changes,
        earlier=[Earlier(text=_told(one), address=f"../{one.page}") for one in before],
    )
    chapter = chapter_of("suite", reader.run(newest), past, {})
    links = [("All runs", "../index.html"), ("The newest run alone", f"../{newest.page}")]
    files.write(page, write_page([chapter], _shell(links=links)))
    kept = _Suite(stamp=stamp, verdicts=verdicts_of(comparison))
    files.write(file, json.dumps({"schema_version": _Suite.VERSION, **asdict(kept)}))
    return Shown(runs=members, page=page, verdicts=kept.verdicts)


def _told(summary: Summary) -> str:
    facts = [summary.moment.started_at[:19], summary.headline, f"torch {summary.moment.torch}", summary.moment.commit]
    return ", ".join(filter(None, facts))


def _publish_machines(summaries: Sequence[Summary], files: SiteFiles) -> list[tuple[str, str]]:
    """A page for every suite that several machines measured: name and address."""
    found = []
    for suite, members in _grouped(summaries, lambda one: one.suite).items():
        newest: dict[str, Moment] = {}
        for group in _grouped(members, _group).values():
            machine = group[-1].machine
            newest[machine if machine not in newest else f"{machine} ({group[-1].group})"] = group[-1].moment
        if len(newest) < 2:  # noqa: PLR2004 - nothing beside it
            continue
        chapter: Chapter | None = machines_chapter(suite, newest)
        if chapter is not None:
            address = f"machines/{slug(suite)}.html"
            files.write(address, write_page([chapter], _shell(links=[("All runs", "../index.html")])))
            found.append((suite, address))
    return found


@cache
def _made_by() -> str:
    """Changes when the program does that pages are made by."""
    wings = ("analysis", "comparison", "report", "report.charts", "report.page", "report.site")
    places = [place for wing in wings for place in resources.files(f"attnbench.{wing}").iterdir() if place.is_file()]
    sources = [place.read_text(encoding="utf-8") for place in sorted(places, key=lambda place: place.name)]
    return digest("".join([*sources, *asset_files()]))
