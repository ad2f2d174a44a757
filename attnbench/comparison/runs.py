"""Stored runs brought together: which of them may be compared, and by which rule."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attnbench.comparison import rules
from attnbench.comparison.cells import Cell, Row, is_ok, median_detectable, rows_of, verdict_of, worst_first
from attnbench.comparison.environments import differences
from attnbench.comparison.noise import Noise
from attnbench.comparison.rules import Judgment
from attnbench.comparison.verdict import Comparison, Verdict
from attnbench.core.errors import NotComparableError, UsageError
from attnbench.core.record import Ceilings, fingerprint_mismatch
from attnbench.results.store import StoredRun, find_runs, is_run
from attnbench.results.table import anchor, processes_of


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Base runs, and what is to be said of those that were left out."""

    runs: tuple[StoredRun, ...]
    notes: tuple[str, ...] = ()


def gather(paths: Sequence[Path], candidate: StoredRun) -> Gathered:
    """The base runs that paths name. Of a directory of runs, those that the candidate can be compared with.

    Raises:
        StoredRunError: There is no run, or one is damaged.
        NotComparableError: A directory holds runs, and none that can be compared.
    """
    runs: list[StoredRun] = []
    notes: list[str] = []
    for path in paths:
        found = find_runs(path, but=candidate.path, passed_over=notes)
        if is_run(path):
            runs += found
            continue
        fitting = select(found, candidate, of=str(path))
        runs += fitting.runs
        notes += fitting.notes
    return Gathered(runs=tuple(runs), notes=tuple(notes))


def select(found: Sequence[StoredRun], candidate: StoredRun, *, of: str) -> Gathered:
    """Of some runs those of the candidate's suite and fingerprint that are whole, each once, and not itself.

    Args:
        found: Oldest first.
        candidate: What is to be compared with them.
        of: What holds them, for messages.

    Raises:
        NotComparableError: There is none.
    """
    ours = [run for run in found if _names(run) & _names(candidate)]
    alike = [run for run in ours if not _mismatch(run, candidate)]
    others = {run.identity: run for run in alike if run.identity != candidate.identity}
    whole = [
        run for run in others.values() if not run.table.empty and not run.cut_short and _has_anchors(run, candidate)
    ]
    if not whole:
        if alike:
            why = "it has itself alone" if not others else "every other run was cut short"
        elif ours:
            why = f"the newest was not measured alike: {'; '.join(_mismatch(ours[-1], candidate))}"
        else:
            why = f"the newest is of {_named(found[-1])}, not {_named(candidate)}" if found else "it is empty"
        raise NotComparableError(f"{of} holds no run that {candidate.path} can be compared with: {why}")
    notes = []
    if left := len(found) - len(alike):
        notes.append(f"{left} runs of {of} are of other suites or machines and were left out.")
    if left := len(others) - len(whole):
        notes.append(f"{left} runs of {of} were cut short and were left out.")
    return Gathered(runs=tuple(whole), notes=tuple(notes))


def compare(
    base: Sequence[StoredRun],
    candidate: StoredRun,
    *,
    fail_above: float | None = None,
    anyway: bool = False,
    noise: Noise | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare a run with one or several earlier ones.

    Args:
        base: A cell that six or more have is judged by how far they scatter; of others nothing is confirmed.
        candidate: The newer run.
        fail_above: The slowdown that fails, such as 0.05.
        anyway: Whether to compare runs of unequal fingerprints, or that were cut short; the comparison says so.
        noise: How far processes scatter on this machine, for cells without a history.
        notes: What its reader must know besides.

    Raises:
        UsageError: A run is given twice, or holds nothing.
        NotComparableError: Fingerprints differ, or a run was cut short.
    """
    _check_distinct([*base, candidate])
    runs = sorted(base, key=lambda run: str(run.environment.get("started_at", "")))
    differ = list(dict.fromkeys(field for run in runs for field in _mismatch(run, candidate)))
    if not anyway:
        _check_comparable(runs, candidate)
    said = list(notes)
    said += [f"{run.path} was cut short: {run.cut_short}." for run in (*runs, candidate) if run.cut_short]
    said += [
        f"{run.path} was kept without its environment: nobody knows whether it was measured alike."
        for run in (*runs, candidate)
        if not run.environment
    ]
    rows, ours = [rows_of(run.table) for run in runs], rows_of(candidate.table)
    margin = fail_above if fail_above is not None else rules.HISTORY_MARGIN
    history = _History(runs=runs, rows=rows, candidate=candidate, ours=ours)
    judgments = history.judge(margin, noise)
    keys = {**dict.fromkeys(rows[-1]), **dict.fromkeys(ours)}  # what only older runs had is no longer asked for
    cells = worst_first(
        [verdict_of(key, [one[key] for one in rows if key in one], ours.get(key), judgments.get(key)) for key in keys]
    )
    comparison = Comparison(
        suite=str(candidate.suite.get("name") or ", ".join(sorted(_names(candidate)))),
        device=str(candidate.environment.get("device_name", "")),
        base=str(runs[0].path) if len(runs) == 1 else _count(len(runs)),
        candidate=str(candidate.path),
        method=_method(len(runs), len(history.past), len(judgments), noise),
        cells=cells,
        fail_above=1 + margin,
        min_detectable_ratio=median_detectable(cells),
        differences=tuple(differences(runs[-1].environment, candidate.environment)),
        fingerprint_mismatch=tuple(differ),
        notes=(*said, *history.notes()),
    )
    if comparison.compared:
        return comparison
    common = any(cell.verdict not in (Verdict.ADDED, Verdict.REMOVED) for cell in cells)
    why = "were measured in neither or in one alone" if common else "have no cell in common"
    return replace(
        comparison,
        not_compared_reason=f"nothing can be compared: {runs[-1].path} and {candidate.path} {why} "
        f"({_named(runs[-1])} and {_named(candidate)})",
    )


class _History:
    """Base runs and a candidate, cell by cell."""

    def __init__(
        self,
        *,
        runs: Sequence[StoredRun],
        rows: Sequence[Mapping[Cell, Row]],
        candidate: StoredRun,
        ours: Mapping[Cell, Row],
    ) -> None:
        self._candidate = candidate
        self._ours = {key: row for key, row in ours.items() if is_ok(row)}
        self._before = {
            key: [(run, one[key]) for run, one in zip(runs, rows, strict=True) if is_ok(one.get(key))]
            for key in self._ours
        }
        self._unanchored = False
        self.past: dict[Cell, list[float]] = {}
        """By cell with a history, its values in the base runs."""

    def judge(self, margin: float, noise: Noise | None) -> dict[Cell, Judgment]:
        """What the latencies say of every cell that was measured in both."""
        now: dict[Cell, list[float]] = {}
        ratios: dict[Cell, float] = {}
        processes: dict[Cell, tuple[int, int]] = {}
        for key, row in self._ours.items():
            before = self._before[key]
            if not before:
                continue
            anchors = self._anchors(row, before)
            ours = [math.log(latency_ms) - anchors[0] for latency_ms in _processes(row)]
            theirs = [
                math.log(one["latency_ms"]) - anchor for (_, one), anchor in zip(before, anchors[1:], strict=True)
            ]
            if len(before) >= rules.FEWEST_RUNS:
                self.past[key], now[key] = theirs, ours
            elif noise is not None:
                ratios[key] = statistics.fmean(ours) - statistics.fmean(theirs)
                processes[key] = len(ours), sum(len(_processes(one)) for _, one in before)
            else:
                earlier = statistics.fmean(math.log(one["latency_ms"]) for _, one in before)
                ratios[key] = math.log(row["latency_ms"]) - earlier
        spreads = noise.errors(processes) if noise is not None else None
        found = rules.judge_history(self.past, now, fail_above=margin)
        return {**found, **rules.judge_single(ratios, spreads=spreads, fail_above=margin)}

    def notes(self) -> list[str]:
        """What a reader must know of how it was judged."""
        if not self._unanchored:
            return []
        return [
            "Some runs lack their copy and matmul anchors: a machine that is slower as a whole looks like slower cells."
        ]

    def _anchors(self, row: Row, before: Sequence[tuple[StoredRun, Row]]) -> list[float]:
        """Of the candidate and of every base run; where one of them has none, none counts."""
        ceilings = [
            run.environment.get("ceilings", {}).get(row["dtype"])
            for run in (self._candidate, *(run for run, _ in before))
        ]
        if all(ceilings):
            return [anchor(Ceilings(**one)) for one in ceilings]
        self._unanchored = True
        return [0.0] * len(ceilings)


def _has_anchors(run: StoredRun, candidate: StoredRun) -> bool:
    """Whether a run that was killed in its last moments lacks what the candidate has."""
    return bool(run.environment.get("ceilings")) or not candidate.environment.get("ceilings")


def _processes(row: Row) -> list[float]:
    """The latencies of a cell's processes; of a table that does not tell them, the cell's."""
    return list(processes_of(row).values()) or [row["latency_ms"]]


def _mismatch(before: StoredRun, after: StoredRun) -> list[str]:
    """Fields of the fingerprint that differ; runs kept without an environment have none."""
    return fingerprint_mismatch(*(run.environment.get("fingerprint", {}) for run in (before, after)))


def _check_comparable(runs: Sequence[StoredRun], candidate: StoredRun) -> None:
    for run in runs:
        if fields := _mismatch(run, candidate):
            raise NotComparableError(
                f"{run.path} and {candidate.path} were not measured alike: {'; '.join(fields)}; "
                "measure both on one machine, or add --anyway"
            )
    for run in (*runs, candidate):
        if run.cut_short:
            raise NotComparableError(
                f"{run.path} was cut short: {run.cut_short}; "
                f"go on with attnbench run SUITE --resume {run.path}, or add --anyway"
            )


def _check_distinct(runs: Sequence[StoredRun]) -> None:
    seen: dict[object, StoredRun] = {}
    for run in runs:
        if run.table.empty:
            raise UsageError(f"{run.path} holds nothing: it was cut short before anything was measured")
        for key in (run.path.resolve(), *([run.identity] if run.environment else [])):
            if key in seen:
                copied = "" if seen[key].path == run.path else f" ({seen[key].path} is a copy of it)"
                raise UsageError(f"{run.path} is given twice{copied}; a run compared with itself says nothing")
            seen[key] = run


def _method(runs: int, histories: int, judged: int, noise: Noise | None) -> str:
    parts = []
    if histories:
        parts.append(f"beside {_count(runs)}, by how far they scatter, each divided by its own copy and matmul anchors")
    if judged > histories and noise is not None:
        parts.append(
            f"beside {_count(runs)}, by how far processes scatter in the A/A measurement {noise.path}: "
            "a change of latency is suspected, never confirmed"
        )
    elif judged > histories:
        parts.append(
            f"beside {_count(runs)}: how far runs scatter is not known, so no change of latency is confirmed "
            f"(give {rules.FEWEST_RUNS} or more, measure attnbench noise, or gate by attnbench ab)"
        )
    return "; other cells ".join(parts) or f"beside {_count(runs)}"


def _count(runs: int) -> str:
    return f"{runs} run{'s' if runs > 1 else ''}"


def _names(run: StoredRun) -> set[str]:
    return set(map(str, run.table["suite"].unique()))


def _named(run: StoredRun) -> str:
    return f"suite {', '.join(sorted(_names(run)))}"
