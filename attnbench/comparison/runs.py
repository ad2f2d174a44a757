"""Stored runs brought together: which cells are the same, what may be compared at all, and by which rule."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from attnbench.comparison import rules
from attnbench.comparison.rules import Judgment
from attnbench.comparison.verdict import CellVerdict, Comparison, Verdict
from attnbench.errors import NotComparableError, UsageError
from attnbench.record import Status
from attnbench.stats import Estimate
from attnbench.store import StoredRun
from attnbench.table import PROBLEM

Cell = tuple[Any, ...]
"""Case, backend and problem: equal where two runs measured the same."""
Row = Mapping[Any, Any]
_MEMORY_FACTOR, _MEMORY_BYTES = 1.01, 2**20
_MEBIBYTE = 2**20
_FUSED = "_scaled_dot_product_"
_ORDER = list(Verdict)
_VERSIONS = ("torch", "cuda", "driver", "python", "commit")


def compare(
    base: Sequence[StoredRun], candidate: StoredRun, *, fail_above: float | None = None, anyway: bool = False
) -> Comparison:
    """Compare a run with one or several earlier ones.

    Args:
        base: With six or more the candidate is judged by how far they scatter, with fewer nothing is confirmed.
        candidate: The newer run.
        fail_above: The slowdown that fails, such as 0.05.
        anyway: Whether to compare runs of unequal fingerprints; the comparison then says which fields differ.

    Raises:
        UsageError: A run is given twice, or holds nothing.
        NotComparableError: Fingerprints differ, or no cell is in both.
    """
    _check_distinct([*base, candidate])
    unlike = _unlike(base, candidate)
    if unlike and not anyway:
        raise NotComparableError(
            f"{base[-1].path} and {candidate.path} were not measured alike: {'; '.join(unlike)}; "
            "measure both on one machine, or add --anyway"
        )
    rows = [_rows(run) for run in base]
    ours = _rows(candidate)
    history = len(base) >= rules.FEWEST_RUNS
    margin = fail_above if fail_above is not None else rules.HISTORY_MARGIN
    past, now = _histories(base, rows, candidate, ours) if history else ({}, {})
    judged = rules.judge_history(past, now, fail_above=margin) if past else {}
    cells = []
    for key in {**{key: None for one in rows for key in one}, **dict.fromkeys(ours)}:
        earlier = [one[key] for one in rows if key in one]
        judgment = judged.get(key) or _judge_single(earlier, ours.get(key))
        cells.append(_verdict(key, earlier, ours.get(key), judgment))
    if all(cell.verdict in (Verdict.NEW, Verdict.GONE) for cell in cells):
        raise NotComparableError(
            f"nothing can be compared: {base[-1].path} and {candidate.path} have no cell in common "
            f"({_named(base[-1])} and {_named(candidate)})"
        )
    count = f"{len(base)} run{'s' if len(base) > 1 else ''}"
    return Comparison(
        base=str(base[0].path) if len(base) == 1 else count,
        candidate=str(candidate.path),
        method=(
            f"beside {count}, by how far they scatter, each divided by its own copy and matmul anchors"
            if history
            else f"beside {count}: how far runs scatter is not known, so no change of latency is confirmed "
            f"(give {rules.FEWEST_RUNS} or more)"
        ),
        cells=tuple(sorted(cells, key=_badness)),
        fail_above=1 + margin,
        detectable=rules.detectable_in_history(past, fail_above=margin) if past else None,
        differences=tuple(differences(base[-1].environment, candidate.environment)),
        unlike=tuple(unlike),
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What changed between two environments, in words."""
    found = [
        f"{name} {before.get(name)} -> {after.get(name)}"
        for name in _VERSIONS
        if before and after and before.get(name) != after.get(name)
    ]
    for name in ("packages", "flags"):
        old, new = before.get(name, {}), after.get(name, {})
        found += [
            f"{key} {old.get(key, 'absent')} -> {new.get(key, 'absent')}"
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key) and key not in _VERSIONS
        ]
    return found


def _check_distinct(runs: Sequence[StoredRun]) -> None:
    seen = set()
    for run in runs:
        if run.table.empty:
            raise UsageError(f"{run.path} holds nothing: it was cut short before anything was measured")
        place = run.path.resolve()
        if place in seen:
            raise UsageError(f"{run.path} is given twice; a run compared with itself says nothing")
        seen.add(place)


def _unlike(base: Sequence[StoredRun], candidate: StoredRun) -> list[str]:
    """Fields of the fingerprint that differ; runs kept without an environment have none."""
    new = candidate.environment.get("fingerprint", {})
    found: dict[str, str] = {}
    for run in base:
        old = run.environment.get("fingerprint", {})
        for name in old.keys() & new.keys():
            if old[name] != new[name]:
                found[name] = f"{name} {old[name]} -> {new[name]}"
    return list(found.values())


def _rows(run: StoredRun) -> dict[Cell, Row]:
    rows = run.table.to_dict("records")
    return {(row["case"], row["backend"], *(row[name] for name in PROBLEM)): row for row in rows}


def _ok(row: Row | None) -> bool:
    return row is not None and row["status"] == Status.OK


def _anchored(run: StoredRun, row: Row) -> float:
    """The logarithm of a latency over the run's own anchors, where it has them."""
    ceilings = run.environment.get("ceilings", {}).get(row["dtype"])
    anchor = 0.0
    if ceilings:
        anchor = -(math.log(ceilings["bytes_per_s"]) + math.log(ceilings["flops_per_s"])) / 2
    return math.log(row["latency_ms"]) - anchor


def _histories(
    base: Sequence[StoredRun], rows: Sequence[Mapping[Cell, Row]], candidate: StoredRun, ours: Mapping[Cell, Row]
) -> tuple[dict[Cell, list[float]], dict[Cell, float]]:
    """Cells that every base run and the candidate measured, anchored."""
    shared = [key for key, row in ours.items() if _ok(row) and all(_ok(one.get(key)) for one in rows)]
    past = {key: [_anchored(run, one[key]) for run, one in zip(base, rows, strict=True)] for key in shared}
    return past, {key: _anchored(candidate, ours[key]) for key in shared}


def _judge_single(past: Sequence[Row], now: Row | None) -> Judgment | None:
    before = [row["latency_ms"] for row in past if _ok(row)]
    if not before or now is None or not _ok(now):
        return None
    return rules.judge_single(
        Estimate(value=now["latency_ms"] / math.exp(statistics.fmean(map(math.log, before))), low=None, high=None)
    )


def _verdict(key: Cell, past: Sequence[Row], now: Row | None, judgment: Judgment | None) -> CellVerdict:
    before = [row for row in past if _ok(row)]
    newest = next(iter([*reversed(before), *reversed(past)]), None)
    cell = CellVerdict(
        case=key[0],
        backend=key[1],
        verdict=Verdict.STABLE,
        base_ms=math.exp(statistics.fmean(math.log(row["latency_ms"]) for row in before)) if before else None,
        candidate_ms=now["latency_ms"] if now is not None and _ok(now) else None,
        base_peak_bytes=_number(newest, "peak_bytes"),
        candidate_peak_bytes=_number(now, "peak_bytes"),
        base_kernel="" if newest is None else newest["kernel"],
        candidate_kernel=now["kernel"] if now is not None else "",
    )
    if now is None:
        return replace(cell, verdict=Verdict.GONE, reason="not in the candidate")
    if not past:
        return replace(cell, verdict=Verdict.NEW, reason="not in the base")
    if not _ok(now):
        # What failed in the base, too, is none of the candidate's doing.
        status = f"{now['status']}: {now['reason']}"
        return replace(cell, verdict=Verdict.BROKEN if before else Verdict.STABLE, reason=status)
    if judgment is None:
        return replace(cell, verdict=Verdict.FIXED, reason=f"was {past[-1]['status']}: {past[-1]['reason']}")
    return with_memory_and_kernel(replace(cell, verdict=judgment.verdict, ratio=judgment.ratio, chance=judgment.chance))


def with_memory_and_kernel(cell: CellVerdict) -> CellVerdict:
    """A verdict on latency, and what memory and kernel have to say: memory repeats to the byte, so it needs no test."""
    before, now = cell.base_peak_bytes, cell.candidate_peak_bytes
    if before is not None and now is not None and now > max(_MEMORY_FACTOR * before, before + _MEMORY_BYTES):
        grown = f"peak memory {before / _MEBIBYTE:.1f} -> {now / _MEBIBYTE:.1f} MiB"
        return replace(cell, verdict=Verdict.REGRESSED, reason=grown)
    if _changed(cell.base_kernel, cell.candidate_kernel):
        calm = cell.verdict in (Verdict.STABLE, Verdict.INCONCLUSIVE)
        reason = f"kernel {cell.base_kernel} -> {cell.candidate_kernel}"
        return replace(cell, verdict=Verdict.KERNEL_CHANGED if calm else cell.verdict, reason=reason)
    return cell


def _changed(before: str, now: str) -> bool:
    """Whether torch dispatched to another attention kernel.

    Where no fused operator ran, ``kernel`` is whichever of several took longest, and that is a matter of chance.
    """
    if not any(kernel.startswith(_FUSED) for kernel in (before, now)):
        return False
    return bool(before and now) and before != now


def _number(row: Row | None, name: str) -> int | None:
    value = pd.NA if row is None else row[name]
    return None if pd.isna(value) else int(value)


def _named(run: StoredRun) -> str:
    return f"suite {', '.join(map(str, run.table['suite'].unique()))}"


def _badness(cell: CellVerdict) -> tuple[int, float]:
    return _ORDER.index(cell.verdict), -(cell.ratio.value if cell.ratio else 0.0)
