"""Stored runs brought together: which of them may be compared, and by which rule."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnbench.comparison import rules
from attnbench.comparison.cells import Cell, Row, is_ok, median_detectable, rows_of, verdict_of, worst_first
from attnbench.comparison.environments import differences
from attnbench.comparison.noise import Noise
from attnbench.comparison.rules import Judgment
from attnbench.comparison.verdict import Comparison, Verdict
from attnbench.errors import NotComparableError, UsageError
from attnbench.record import unlike
from attnbench.store import StoredRun, find_runs, is_run
from attnbench.table import blocks_of


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Base runs, and those that were left out."""

    runs: tuple[StoredRun, ...]
    remarks: tuple[str, ...] = ()


def gather(paths: Sequence[Path], candidate: StoredRun) -> Gathered:
    """The base runs that paths name. Of a directory of runs, those of the candidate's suite and fingerprint.

    Raises:
        StoredRunError: There is no run, or one is damaged.
        NotComparableError: A directory holds runs, and none that may be compared.
    """
    runs: list[StoredRun] = []
    remarks = []
    for path in paths:
        found = find_runs(path, but=candidate.path)
        if is_run(path):
            runs += found
            continue
        alike = [run for run in found if _names(run) & _names(candidate)]
        alike = [run for run in alike if not _unlike(run, candidate)]
        if not alike:
            other = [run for run in found if _names(run) & _names(candidate)] or found
            fields = "; ".join(_unlike(other[-1], candidate))
            raise NotComparableError(
                f"{path} holds no run that {candidate.path} can be compared with: the newest was not measured alike "
                f"({fields or f'{_named(other[-1])}, not {_named(candidate)}'})"
            )
        runs += alike
        if left := len(found) - len(alike):
            remarks.append(f"{left} runs in {path} are of other suites or machines and were left out.")
    return Gathered(runs=tuple(runs), remarks=tuple(remarks))


def compare(
    base: Sequence[StoredRun],
    candidate: StoredRun,
    *,
    fail_above: float | None = None,
    anyway: bool = False,
    noise: Noise | None = None,
    remarks: Sequence[str] = (),
) -> Comparison:
    """Compare a run with one or several earlier ones.

    Args:
        base: Oldest first. A cell that six or more have is judged by how far they scatter; of others nothing is
            confirmed.
        candidate: The newer run.
        fail_above: The slowdown that fails, such as 0.05.
        anyway: Whether to compare runs of unequal fingerprints, or one that was cut short; the comparison says so.
        noise: How far processes scatter on this machine, for cells without a history.
        remarks: What its reader must know besides.

    Raises:
        UsageError: A run is given twice, or holds nothing.
        NotComparableError: Fingerprints differ, the candidate was cut short, or no cell was measured in both.
    """
    _check_distinct([*base, candidate])
    differ = list(dict.fromkeys(field for run in base for field in _unlike(run, candidate)))
    said = list(remarks)
    _check_alike(base[-1], candidate, differ, anyway=anyway)
    missing = 0 if candidate.cells is None else candidate.cells - len(candidate.table)
    if missing > 0:
        said.append(f"The candidate was cut short: {missing} of its cells were not measured.")
    rows, ours = [rows_of(run.table) for run in base], rows_of(candidate.table)
    margin = fail_above if fail_above is not None else rules.HISTORY_MARGIN
    judgments, histories = _judge(base, rows, candidate, ours, margin, noise)
    keys = {**{key: None for one in rows for key in one}, **dict.fromkeys(ours)}
    cells = worst_first(
        [verdict_of(key, [one[key] for one in rows if key in one], ours.get(key), judgments.get(key)) for key in keys]
    )
    comparison = Comparison(
        suite=str(candidate.suite.get("name") or ", ".join(sorted(_names(candidate)))),
        device=str(candidate.environment.get("device_name", "")),
        base=str(base[0].path) if len(base) == 1 else _count(len(base)),
        candidate=str(candidate.path),
        method=_method(len(base), histories, len(judgments), noise),
        cells=cells,
        fail_above=1 + margin,
        detectable=median_detectable(cells),
        differences=tuple(differences(base[-1].environment, candidate.environment)),
        unlike=tuple(differ),
        remarks=tuple(said),
    )
    if not comparison.compared:
        common = any(cell.verdict not in (Verdict.NEW, Verdict.GONE) for cell in cells)
        why = "were measured in neither or in one alone" if common else "have no cell in common"
        raise NotComparableError(
            f"nothing can be compared: the cells of {base[-1].path} and {candidate.path} {why} "
            f"({_named(base[-1])} and {_named(candidate)})"
        )
    return comparison


def _judge(
    base: Sequence[StoredRun],
    rows: Sequence[Mapping[Cell, Row]],
    candidate: StoredRun,
    ours: Mapping[Cell, Row],
    margin: float,
    noise: Noise | None,
) -> tuple[dict[Cell, Judgment], int]:
    """What the latencies say of every cell that was measured in both, and how many cells have a history."""
    past: dict[Cell, list[float]] = {}
    now: dict[Cell, list[float]] = {}
    ratios: dict[Cell, float] = {}
    processes: dict[Cell, tuple[int, int]] = {}
    for key, row in ours.items():
        before = [(run, one[key]) for run, one in zip(base, rows, strict=True) if is_ok(one.get(key))]
        if not before or not is_ok(row):
            continue
        if len(before) >= rules.FEWEST_RUNS:
            past[key] = [_anchored(run, earlier, earlier["latency_ms"]) for run, earlier in before]
            blocks = list(blocks_of(row).values()) or [row["latency_ms"]]
            now[key] = [_anchored(candidate, row, latency_ms) for latency_ms in blocks]
        elif noise is not None:
            earlier_ms = statistics.fmean(_anchored(run, earlier, earlier["latency_ms"]) for run, earlier in before)
            ratios[key] = _anchored(candidate, row, row["latency_ms"]) - earlier_ms
            processes[key] = int(row["blocks"]), sum(int(earlier["blocks"]) for _, earlier in before)
        else:
            earlier_ms = statistics.fmean(math.log(earlier["latency_ms"]) for _, earlier in before)
            ratios[key] = math.log(row["latency_ms"]) - earlier_ms
    spreads = noise.errors(processes) if noise is not None else None
    found = rules.judge_history(past, now, fail_above=margin)
    return {**found, **rules.judge_single(ratios, spreads=spreads, fail_above=margin)}, len(past)


def _anchored(run: StoredRun, row: Row, latency_ms: float) -> float:
    """The logarithm of a latency over the run's own anchors, where it has them."""
    ceilings = run.environment.get("ceilings", {}).get(row["dtype"])
    anchor = -(math.log(ceilings["bytes_per_s"]) + math.log(ceilings["flops_per_s"])) / 2 if ceilings else 0.0
    return math.log(latency_ms) - anchor


def _unlike(before: StoredRun, after: StoredRun) -> list[str]:
    """Fields of the fingerprint that differ; runs kept without an environment have none."""
    return unlike(*(run.environment.get("fingerprint", {}) for run in (before, after)))


def _check_alike(base: StoredRun, candidate: StoredRun, differ: Sequence[str], *, anyway: bool) -> None:
    if anyway:
        return
    if differ:
        raise NotComparableError(
            f"{base.path} and {candidate.path} were not measured alike: {'; '.join(differ)}; "
            "measure both on one machine, or add --anyway"
        )
    if candidate.cells is not None and len(candidate.table) < candidate.cells:
        raise NotComparableError(
            f"{candidate.path} was cut short: it has {len(candidate.table)} of {candidate.cells} cells; "
            f"go on with attnbench run SUITE --resume {candidate.path}, or add --anyway"
        )


def _check_distinct(runs: Sequence[StoredRun]) -> None:
    seen = set()
    for run in runs:
        if run.table.empty:
            raise UsageError(f"{run.path} holds nothing: it was cut short before anything was measured")
        place = run.path.resolve()
        if place in seen:
            raise UsageError(f"{run.path} is given twice; a run compared with itself says nothing")
        seen.add(place)


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
