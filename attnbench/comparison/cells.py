"""One cell in base and candidate: from rows and a judgment of their latencies to its verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from attnbench.comparison.rules import Judgment
from attnbench.comparison.verdict import CellVerdict, Verdict
from attnbench.core.record import Status
from attnbench.results.table import PROBLEM

Cell = tuple[Any, ...]
"""Case, backend and problem: equal where two runs measured the same."""
Row = Mapping[Any, Any]
_MEMORY_FACTOR, _MEMORY_BYTES = 1.01, 2**20
_MEBIBYTE = 2**20
_FUSED = "_scaled_dot_product_"
_ORDER = list(Verdict)


def rows_of(table: pd.DataFrame) -> dict[Cell, Row]:
    """The rows of a table by cell."""
    return {(row["case"], row["backend"], *(row[name] for name in PROBLEM)): row for row in table.to_dict("records")}


def is_ok(row: Row | None) -> bool:
    """Whether there is a latency."""
    return row is not None and row["status"] == Status.OK


def verdict_of(
    key: Cell, past: Sequence[Row], now: Row | None, judgment: Judgment | None, *, kernels: bool = True
) -> CellVerdict:
    """What became of a cell.

    Args:
        key: The cell.
        past: Its rows in the base runs that have it, oldest first.
        now: Its row in the candidate.
        judgment: What the latencies say, where there are enough of them in both.
        kernels: Whether another kernel means something.
    """
    before = [row for row in past if is_ok(row)]
    newest = next(iter([*reversed(before), *reversed(past)]), None)
    cell = CellVerdict(
        case=key[0],
        backend=key[1],
        verdict=Verdict.STABLE,
        base_status=None if newest is None else Status(newest["status"]),
        candidate_status=None if now is None else Status(now["status"]),
        base_ms=math.exp(statistics.fmean(math.log(row["latency_ms"]) for row in before)) if before else None,
        candidate_ms=now["latency_ms"] if now is not None and is_ok(now) else None,
        base_peak_bytes=_number(newest, "peak_bytes"),
        candidate_peak_bytes=_number(now, "peak_bytes"),
        base_kernel="" if newest is None else newest["kernel"],
        candidate_kernel=now["kernel"] if now is not None else "",
    )
    if now is None:
        return replace(cell, verdict=Verdict.REMOVED, reason="not in the candidate")
    if not past:
        return replace(cell, verdict=Verdict.ADDED, reason="not in the base")
    if not is_ok(now):
        # What failed in the base, too, is none of the candidate's doing.
        status = f"{now['status']}: {now['reason']}"
        return replace(cell, verdict=Verdict.BROKEN if before else Verdict.STABLE, reason=status)
    if not before:
        return replace(cell, verdict=Verdict.FIXED, reason=f"was {past[-1]['status']}: {past[-1]['reason']}")
    if judgment is None:
        cell = replace(cell, verdict=Verdict.INCONCLUSIVE, reason="too little was measured to judge by")
    else:
        cell = replace(
            cell,
            verdict=judgment.verdict,
            ratio=judgment.ratio,
            p_value=judgment.p_value,
            min_detectable_ratio=judgment.min_detectable_ratio,
            reason="; ".join(filter(None, (judgment.reason, _disturbed(judgment, now)))),
        )
    return _with_memory_and_kernel(cell, kernels=kernels)


def _disturbed(judgment: Judgment, now: Row) -> str:
    """What disturbed a cell that is not certain."""
    unsure = judgment.verdict in (Verdict.SUSPECT, Verdict.INCONCLUSIVE)
    return ", ".join(now["flags"].split()) if unsure else ""


def _with_memory_and_kernel(cell: CellVerdict, *, kernels: bool) -> CellVerdict:
    """A verdict on latency, and what memory and kernel have to say: memory repeats to the byte, so it needs no test."""
    verdict, reasons = cell.verdict, [cell.reason]
    if kernels and _changed(cell.base_kernel, cell.candidate_kernel):
        names = (name.removeprefix(_FUSED) for name in (cell.base_kernel, cell.candidate_kernel))
        reasons.insert(0, f"kernel {' -> '.join(names)}")
        verdict = Verdict.KERNEL_CHANGED if verdict in (Verdict.STABLE, Verdict.INCONCLUSIVE) else verdict
    before, now = cell.base_peak_bytes, cell.candidate_peak_bytes
    if before is not None and now is not None and now > max(_MEMORY_FACTOR * before, before + _MEMORY_BYTES):
        reasons.insert(0, f"peak memory {before / _MEBIBYTE:.1f} -> {now / _MEBIBYTE:.1f} MiB")
        verdict = Verdict.REGRESSED
    return replace(cell, verdict=verdict, reason="; ".join(filter(None, reasons)))


def worst_first(cells: Sequence[CellVerdict]) -> tuple[CellVerdict, ...]:
    """By verdict, then by how much slower."""
    return tuple(
        sorted(cells, key=lambda cell: (_ORDER.index(cell.verdict), -(cell.ratio.value if cell.ratio else 0.0)))
    )


def median_detectable(cells: Sequence[CellVerdict]) -> float | None:
    """The smallest ratio that would have been called a regression in the median cell; None where it is not known."""
    known = [cell.min_detectable_ratio for cell in cells if cell.min_detectable_ratio is not None]
    return statistics.median(known) if known else None


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
