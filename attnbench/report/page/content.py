"""What stands on the page: a chapter for every suite on every machine, with the newest run and its history."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnbench.analysis.growth import growths
from attnbench.analysis.maps import winner_maps
from attnbench.analysis.ranking import by_case, contests
from attnbench.analysis.roofline import roofs
from attnbench.analysis.scopes import parts_of
from attnbench.analysis.sweeps import crossovers, sweep
from attnbench.comparison.definitions import Comparison
from attnbench.comparison.runs import compare
from attnbench.core.text import plural
from attnbench.report.answer import Answer, answer
from attnbench.report.charts import answers, device, runs, scopes, sizes
from attnbench.report.charts.chart import Palette
from attnbench.report.charts.rows import chart_rows
from attnbench.report.charts.runs import Moment, moment_of
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
class Earlier:
    """A run before the one that is shown."""

    text: str
    address: str = ""
    """Of its own page; empty where it has none."""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One suite on one machine."""

    ident: str
    heading: str
    answer: Answer
    figures: tuple[Figures, ...]
    backends: tuple[str, ...]
    """In the order of the suite."""
    question: str = ""
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    rows: tuple[dict[str, Any], ...] = ()
    rerun: Rerun | None = None
    facts: tuple[tuple[str, str], ...] = ()
    packages: tuple[tuple[str, str], ...] = ()
    history: tuple[Earlier, ...] = ()
    """The runs before it, oldest first."""
    suite: str = ""
    """The suite as it lies beside the run; empty where none does."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """What came before a run."""

    moments: Sequence[Moment] = ()
    """The earlier runs, oldest first."""
    comparison: Comparison | None = None
    """Of the run with them."""
    accepted: Collection[Accepted] = ()
    earlier: Sequence[Earlier] = ()


def chapters(found: Sequence[StoredRun], accepted: Collection[Accepted] = ()) -> list[Chapter]:
    """Runs as chapters: those of one suite, measured alike, together."""
    groups: dict[str, list[StoredRun]] = {}
    for run in sorted(_distinct(found), key=lambda run: run.started_at):
        groups.setdefault(group_of(run), []).append(run)
    shared = Counter(suite_of(group[-1]) for group in groups.values())
    by_suite: dict[str, dict[str, Moment]] = {}
    for group in groups.values():
        if shared[suite_of(group[-1])] > 1:
            machines = by_suite.setdefault(suite_of(group[-1]), {})
            machines[_machine(group[-1], machines)] = moment_of(group[-1])
    result = []
    for number, group in enumerate(groups.values(), start=1):
        *before, run = group
        past = Past(
            moments=list(map(moment_of, before)),
            comparison=compared(before, run, accepted),
            accepted=accepted,
            earlier=[Earlier(text=f"{one.started_at[:19]} {one.path}") for one in before],
        )
        # The first chapter of a suite compares its machines.
        result.append(chapter_of(f"chapter-{number}", run, past, by_suite.pop(suite_of(run), {})))
    return result


def _distinct(found: Sequence[StoredRun]) -> list[StoredRun]:
    if len(found) == 1:
        return list(found)
    return list({(run.identity, str(run.path) if run.table.empty else ""): run for run in found}.values())


def group_of(run: StoredRun) -> str:
    """Equal for runs of one suite that were measured alike."""
    return json.dumps([suite_of(run), run.environment.get("fingerprint", {})], sort_keys=True)


def suite_of(run: StoredRun) -> str:
    """The name of a run's suite."""
    names = [*run.table["suite"].unique(), run.suite.get("name"), run.path.name]
    return str(next(filter(None, names), ""))


def _machine(run: StoredRun, known: Collection[str]) -> str:
    name = str(run.environment.get("device_name") or run.path)
    return name if name not in known else f"{name}, {plural(int(run.environment.get('threads', 1)), 'thread')}"


def chapter_of(ident: str, run: StoredRun, past: Past, machines: Mapping[str, Moment]) -> Chapter:
    """A run as a chapter.

    Args:
        ident: Its name in addresses.
        run: What is shown.
        past: What came before it.
        machines: The newest run of its suite on every machine, if they are to be shown side by side.
    """
    rows = run.rows
    found = contests(rows)
    palette = Palette(backends=tuple(dict.fromkeys(row["backend"] for row in rows)))
    shown = chart_rows(rows, found)
    comparison = past.comparison
    swept, fullest = sweep(rows), by_case(found)
    shortened = {axis: series[: MOST_CHARTS + 1] for axis, series in swept.items()}
    grown = [growth for series in shortened.values() for along in series for growth in growths(along)]
    crossings = [one for series in swept.values() for along in series for one in crossovers(along, fullest)]
    maps = winner_maps(rows, fullest, *list(swept)[:2]) if len(swept) > 1 else []
    moments = [*past.moments, moment_of(run)] if past.moments else []
    history = runs.history(moments, comparison, past.accepted, palette) if moments else []
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
        figures_of("breakdown", scopes.breakdowns(parts_of(rows), palette)),
        figures_of("throughput", sizes.charts(rows, shortened, sizes.THROUGHPUT, palette)),
        figures_of("memory", sizes.charts(rows, shortened, sizes.MEMORY, palette)),
        figures_of("machines", runs.machines(machines, palette) if len(machines) > 1 else []),
    ]
    answered = answer(found, crossings)
    return Chapter(
        ident=ident,
        heading=heading(run),
        question=run.question,
        answer=answered,
        backends=palette.backends,
        figures=tuple(one for one in figures if any(one.groups.values())),
        tables=tuple(tables(answered, grown, comparison)),
        notes=(*notes(run, baseline=run.baseline), *(_comparison_notes(comparison) if comparison else ())),
        rows=tuple(shown),
        rerun=rerun(run, rows),
        facts=_facts(run),
        packages=tuple((str(name), str(version)) for name, version in _mapping(run, "packages").items()),
        history=tuple(past.earlier),
        suite=_suite_text(run),
    )


def _suite_text(run: StoredRun) -> str:
    directory = run.path if run.path.is_dir() else run.path.parent
    try:
        return (directory / SUITE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def compared(before: Sequence[StoredRun], run: StoredRun, accepted: Collection[Accepted] = ()) -> Comparison | None:
    """A run compared with earlier ones; None where there is nothing to compare."""
    past = [one for one in before if not one.table.empty]
    if not past or run.table.empty:
        return None
    return compare(past, run, anyway=True, accepted=accepted)


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
