"""What stands on the page: a chapter for every suite on every machine, with the newest run and its history."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnbench.analysis.growth import growths
from attnbench.analysis.maps import winner_maps
from attnbench.analysis.ranking import by_case, contests
from attnbench.analysis.roofline import roofs
from attnbench.analysis.sweeps import crossovers, sweep
from attnbench.comparison.runs import compare
from attnbench.comparison.verdict import Comparison
from attnbench.core.text import plural
from attnbench.report.answer import Answer, answer
from attnbench.report.charts import answers, device, runs, sizes
from attnbench.report.charts.chart import Palette
from attnbench.report.charts.rows import chart_rows
from attnbench.report.notes import notes
from attnbench.report.page.figures import MOST_CHARTS, Figures, figures_of
from attnbench.report.page.rerun import Rerun, rerun
from attnbench.report.page.tables import Table, tables
from attnbench.report.run_table import heading
from attnbench.results.accepted import Accepted
from attnbench.results.journal import SUITE
from attnbench.results.store import StoredRun

FILTERS = ("backend", "dtype", "mode", "pattern", "scope")
"""The columns of a table that a reader may filter by."""
_FACTS = (
    "device_name", "device", "cpu_name", "cores", "memory_bytes", "device_memory_bytes", "cache_bytes", "capability",
    "driver", "cuda", "torch", "python", "threads", "cache", "launch", "allocator", "commit", "started_at",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One suite on one machine."""

    ident: str
    run: StoredRun
    heading: str
    answer: Answer
    figures: tuple[Figures, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    rerun: Rerun
    facts: tuple[tuple[str, str], ...]
    packages: tuple[tuple[str, str], ...]
    history: tuple[str, ...]
    """The runs before it, oldest first."""
    suite: str
    """The suite as it lies beside the run; empty where none does."""


def chapters(found: Sequence[StoredRun], accepted: Collection[Accepted] = ()) -> list[Chapter]:
    """Runs as chapters: those of one suite, measured alike, together."""
    groups: dict[str, list[StoredRun]] = {}
    for run in sorted(_distinct(found), key=_started):
        groups.setdefault(json.dumps([_suite(run), run.environment.get("fingerprint", {})]), []).append(run)
    by_suite: dict[str, dict[str, StoredRun]] = {}
    for group in groups.values():
        machines = by_suite.setdefault(_suite(group[-1]), {})
        machines[_machine(group[-1], machines)] = group[-1]
    result = []
    for number, group in enumerate(groups.values(), start=1):
        machines = by_suite.pop(_suite(group[-1]), {})  # the first chapter of a suite compares its machines
        result.append(_chapter(f"chapter-{number}", group, machines, accepted))
    return result


def _distinct(found: Sequence[StoredRun]) -> list[StoredRun]:
    return list({(run.identity, str(run.path) if run.table.empty else ""): run for run in found}.values())


def _suite(run: StoredRun) -> str:
    names = [*run.table["suite"].unique(), run.suite.get("name"), run.path.name]
    return str(next(filter(None, names), ""))


def _started(run: StoredRun) -> str:
    return str(run.environment.get("started_at", ""))


def _machine(run: StoredRun, known: Collection[str]) -> str:
    name = str(run.environment.get("device_name") or run.path)
    return name if name not in known else f"{name}, {plural(int(run.environment.get('threads', 1)), 'thread')}"


def _chapter(
    ident: str, group: Sequence[StoredRun], machines: Mapping[str, StoredRun], accepted: Collection[Accepted]
) -> Chapter:
    run = group[-1]
    rows = run.table.to_dict("records")
    found = contests(rows)
    palette = Palette(backends=list(dict.fromkeys(row["backend"] for row in rows)))
    shown = chart_rows(rows, found)
    comparison = _comparison(group, accepted)
    swept, fullest = sweep(rows), by_case(found)
    shortened = {axis: series[: MOST_CHARTS + 1] for axis, series in swept.items()}
    lines = [along for series in swept.values() for along in series]
    grown = [growth for series in shortened.values() for along in series for growth in growths(along)]
    crossings = [one for along in lines for one in crossovers(along, fullest)]
    maps = winner_maps(rows, fullest, *list(swept)[:2]) if len(swept) > 1 else []
    history = runs.history(group, comparison, accepted, palette) if len(group) > 1 else []
    ratios = runs.ratios(comparison, palette) if comparison else None
    profile = answers.profile(shown, palette)
    figures = [
        figures_of("ratios", [ratios] if ratios else []),
        figures_of("history", history),
        figures_of("latency", sizes.charts(rows, shortened, sizes.LATENCY, palette)),
        figures_of("exponents", answers.exponents(grown, palette)),
        figures_of("winners", answers.maps(maps, palette)),
        figures_of("profile", [profile] if profile else []),
        figures_of("roofline", device.rooflines(shown, roofs(run.environment), palette)),
        figures_of("throughput", sizes.charts(rows, shortened, sizes.THROUGHPUT, palette)),
        figures_of("memory", sizes.charts(rows, shortened, sizes.MEMORY, palette)),
        figures_of("machines", runs.machines(machines, palette) if len(machines) > 1 else []),
    ]
    answered = answer(found, crossings)
    return Chapter(
        ident=ident,
        run=run,
        heading=heading(run),
        answer=answered,
        figures=tuple(one for one in figures if any(one.groups.values())),
        tables=tuple(tables(answered, grown, comparison)),
        notes=(*notes(run, baseline=run.baseline), *(_comparison_notes(comparison) if comparison else ())),
        rows=tuple(shown),
        rerun=rerun(run, rows),
        facts=_facts(run),
        packages=tuple((str(name), str(version)) for name, version in _mapping(run, "packages").items()),
        history=tuple(f"{_started(earlier)[:19]} {earlier.path}" for earlier in group[:-1]),
        suite=_suite_text(run),
    )


def _suite_text(run: StoredRun) -> str:
    directory = run.path if run.path.is_dir() else run.path.parent
    try:
        return (directory / SUITE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _comparison(group: Sequence[StoredRun], accepted: Collection[Accepted]) -> Comparison | None:
    *past, newest = [run for run in group if not run.table.empty] or [group[-1]]
    if not past or newest is not group[-1]:
        return None
    return compare(past, newest, anyway=True, accepted=accepted)


def _comparison_notes(comparison: Comparison) -> list[str]:
    told = [f"Against earlier runs, cells were judged {comparison.method}.", *comparison.notes]
    if comparison.differences:
        told.append(f"What changed in the environment since the run before: {'; '.join(comparison.differences)}.")
    return told


def _facts(run: StoredRun) -> tuple[tuple[str, str], ...]:
    environment = run.environment
    facts = [(name.replace("_", " "), str(environment[name])) for name in _FACTS if environment.get(name) is not None]
    facts += [(f"ceilings, {dtype}", device.rates_text(ends)) for dtype, ends in roofs(environment).items()]
    facts += [(f"flag {name}", str(value)) for name, value in _mapping(run, "flags").items()]
    facts += [(f"participant {name}", str(value)) for name, value in _mapping(run, "participants").items()]
    return (("run", str(run.path)), *facts)


def _mapping(run: StoredRun, name: str) -> Mapping[str, Any]:
    found = run.environment.get(name)
    return found if isinstance(found, Mapping) else {}
