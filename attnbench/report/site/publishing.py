"""A site made of a directory of runs: what did not change since the last time is left as it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from attnbench.core.errors import StoredRunError
from attnbench.report.charts.runs import Moment
from attnbench.report.page.shell import asset_files
from attnbench.report.site.files import SiteFiles
from attnbench.report.site.index import Shown, write_index
from attnbench.report.site.pages import machines_page, make_run, make_suite, shell, suite_page
from attnbench.report.site.summaries import Summary, digest, read_kept, read_suite, run_file, stamp_of
from attnbench.results.accepted import AcceptedChanges
from attnbench.results.journal import ENVIRONMENT, JOURNAL, SUITE
from attnbench.results.places import CSV, PARQUET
from attnbench.results.store import is_run, run_places

_READ = (JOURNAL, PARQUET, CSV, ENVIRONMENT, SUITE)
_FEW = 24
"""So many new runs are read sooner than further processes have started."""
_MOST_PROCESSES = 8

Map = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""``map``, in this process or in several."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a publication did."""

    runs: int
    """On the site now."""
    read: int
    """Read, because they were new or had changed."""
    left_out: tuple[tuple[str, str], ...]
    """Runs that are not on the site, and why."""


def publish(directory: Path, site: Path, accepted: AcceptedChanges | None = None) -> Published:
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
    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        raise StoredRunError(f"{directory} {what}; give a directory of run directories")
    places = [directory] if is_run(directory) else run_places(directory)
    if not places:
        raise StoredRunError(f"{directory} holds no run; give a directory of run directories")
    files, made_by = SiteFiles(site), _made_by()
    stamps = {_name(directory, place): stamp_of(place, _READ, made_by) for place in places}
    kept = {name: read_kept(site / run_file(name), stamp) for name, stamp in stamps.items()}
    new = [
        name for name, one in kept.items() if one is None or not (one.summary is None or files.has(one.summary.page))
    ]
    with _mapping(len(new)) as each:
        made = each(partial(make_run, directory, site), [(name, stamps[name]) for name in new])
        kept |= zip(new, made, strict=True)
        summaries, left_out = _distinct({name: one for name, one in kept.items() if one is not None})
        if not summaries:
            raise StoredRunError(next(why for _, why in left_out))
        shown = _suites(summaries, directory, site, accepted or AcceptedChanges(), each)
    for name, text in asset_files().items():
        files.write(f"assets/{name}", text)
    machines = _machines(summaries, files)
    files.write("index.html", write_index(shown, machines, left_out, shell("index.js", up="")))
    files.keep(*map(run_file, kept), *(one.page for one in summaries))
    files.keep(*(name for one in shown for name in (one.page, one.page.replace(".html", ".json"))))
    files.remove_others()
    return Published(runs=len(summaries), read=len(new), left_out=tuple(left_out))


@contextmanager
def _mapping(count: int) -> Iterator[Map]:
    """``map`` for so many runs: in processes of their own where that takes less time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count <= _FEW or cores == 1:
        yield map
        return
    # Fresh interpreters: a fork of one in which a library has started threads may hang.
    with ProcessPoolExecutor(min(cores, _MOST_PROCESSES), mp_context=get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=4)


def _suites(
    summaries: Sequence[Summary], directory: Path, site: Path, accepted: AcceptedChanges, each: Map
) -> list[Shown]:
    groups = list(_grouped(summaries, lambda one: one.group).values())
    stamps = [digest(repr([accepted.changes, [(one.place, one.stamp) for one in group]])) for group in groups]
    known = [read_suite(site, suite_page(group[-1]), stamp) for group, stamp in zip(groups, stamps, strict=True)]
    new = [number for number, one in enumerate(known) if one is None]
    asked = [(groups[number], stamps[number]) for number in new]
    verdicts = dict(enumerate(known)) | dict(
        zip(new, each(partial(make_suite, directory, site, accepted), asked), strict=True)
    )
    return [
        Shown(runs=group, page=suite_page(group[-1]), verdicts=found)
        for group, found in zip(groups, verdicts.values(), strict=True)
        if found is not None
    ]


def _name(directory: Path, place: Path) -> str:
    return "." if place == directory else place.relative_to(directory).as_posix()


def _distinct(kept: Mapping[str, Any]) -> tuple[list[Summary], list[tuple[str, str]]]:
    """Every run once, oldest first; and what is left out, with the reason."""
    found: dict[str, Summary] = {}
    left_out = []
    for name, one in kept.items():
        if one.summary is None:
            left_out.append((name, one.error))
        elif one.summary.identity in found:
            left_out.append((name, f"it is a copy of {found[one.summary.identity].place}"))
        else:
            found[one.summary.identity] = one.summary
    return sorted(found.values(), key=lambda one: (one.moment.started_at, one.place)), left_out


def _grouped(summaries: Sequence[Summary], key: Callable[[Summary], str]) -> dict[str, list[Summary]]:
    groups: dict[str, list[Summary]] = {}
    for summary in summaries:
        groups.setdefault(key(summary), []).append(summary)
    return groups


def _machines(summaries: Sequence[Summary], files: SiteFiles) -> list[tuple[str, str]]:
    """A page for every suite that several machines measured: name and address."""
    found = []
    for suite, members in _grouped(summaries, lambda one: one.suite).items():
        newest: dict[str, Moment] = {}
        for group in _grouped(members, lambda one: one.group).values():
            machine = group[-1].machine
            newest[machine if machine not in newest else f"{machine} ({group[-1].group})"] = group[-1].moment
        if (page := machines_page(suite, newest)) is not None:
            files.write(*page)
            found.append((suite, page[0]))
    return found


@cache
def _made_by() -> str:
    """Changes when the program does that pages are made by."""
    wings = ("analysis", "comparison", "report", "report.charts", "report.page", "report.site")
    places = [place for wing in wings for place in resources.files(f"attnbench.{wing}").iterdir() if place.is_file()]
    sources = [place.read_text(encoding="utf-8") for place in sorted(places, key=lambda place: place.name)]
    return digest("".join([*sources, *asset_files()]))
