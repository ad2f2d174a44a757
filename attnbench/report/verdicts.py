"""A comparison as a sheet: the summary first, then every cell that is not calm, worst first."""

from __future__ import annotations

from attnbench.comparison.verdict import CellVerdict, Comparison, Verdict
from attnbench.report.numbers import NOTHING, interval, known, significant
from attnbench.report.sheet import Column, Grid, Sheet

_CALM = (Verdict.STABLE,)
_MEBIBYTE = 2**20
_MOST_DIFFERENCES = 8


def verdicts(comparison: Comparison, *, everything: bool = False) -> Sheet:
    """Lay out a comparison.

    Args:
        comparison: What was found.
        everything: Whether to list cells where nothing happened, too.
    """
    shown = [cell for cell in comparison.cells if everything or cell.verdict not in _CALM]
    grids = (_grid(shown),) if shown else ()
    return Sheet(
        heading=f"{comparison.candidate} against {comparison.base}",
        question=summary(comparison),
        grids=grids,
        notes=tuple(_notes(comparison, hidden=len(comparison.cells) - len(shown))),
    )


def summary(comparison: Comparison) -> str:
    """One sentence: what was found, and the smallest change that could have been."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    sees = (
        f"in the median cell it could have seen a slowdown of {100 * (comparison.detectable - 1):.1f} %"
        if comparison.detectable is not None
        else "what it could have seen is not known"
    )
    idle = f"; {comparison.idle} more could be measured in neither" if comparison.idle else ""
    cells = len(comparison.cells) - comparison.idle
    fails = f"{100 * (comparison.fail_above - 1):.3g} % fails"
    return f"{cells} cell{'' if cells == 1 else 's'}: {counts}{idle}; {sees}, and {fails}."


def _grid(cells: list[CellVerdict]) -> Grid:
    def column(header: str, rank: int, texts: list[str], *, numeric: bool = True, wraps: bool = False) -> Column:
        return Column(header=header, cells=tuple(texts), numeric=numeric, rank=rank, wraps=wraps)

    return Grid(
        title="verdicts",
        columns=(
            column("verdict", 0, [str(cell.verdict) for cell in cells], numeric=False),
            column("case", 0, [cell.case for cell in cells], numeric=False),
            column("backend", 0, [cell.backend for cell in cells], numeric=False),
            column("ratio", 0, [_ratio(cell) for cell in cells]),
            column("95 % interval", 1, [_interval(cell) for cell in cells]),
            column("base ms", 2, [_milliseconds(cell.base_ms) for cell in cells]),
            column("candidate ms", 3, [_milliseconds(cell.candidate_ms) for cell in cells]),
            column("p", 4, [NOTHING if cell.chance is None else f"{cell.chance:.1e}" for cell in cells]),
            column("peak MiB", 5, [_memory(cell) for cell in cells]),
            column("why", 0, [cell.reason for cell in cells], numeric=False, wraps=True),
        ),
    )


def _notes(comparison: Comparison, *, hidden: int) -> list[str]:
    said = [f"Judged {comparison.method}.", *comparison.remarks]
    if hidden:
        said.append(f"{hidden} stable cells are not listed (--all).")
    if comparison.unlike:
        said.append(f"Compared anyway, though not measured alike: {'; '.join(comparison.unlike)}.")
    changed = comparison.differences
    if changed:
        more = f" and {len(changed) - _MOST_DIFFERENCES} more" if len(changed) > _MOST_DIFFERENCES else ""
        said.append(f"What changed in the environment: {'; '.join(changed[:_MOST_DIFFERENCES])}{more}.")
    return said


def _ratio(cell: CellVerdict) -> str:
    return NOTHING if cell.ratio is None else known(cell.ratio.value, cell.ratio.uncertainty)


def _interval(cell: CellVerdict) -> str:
    ratio = cell.ratio
    if ratio is None or ratio.low is None or ratio.high is None:
        return NOTHING
    return interval(ratio.value, ratio.low, ratio.high)


def _milliseconds(value: float | None) -> str:
    return NOTHING if value is None else significant(value)


def _memory(cell: CellVerdict) -> str:
    found = (cell.base_peak_bytes, cell.candidate_peak_bytes)
    return " -> ".join(NOTHING if peak is None else significant(peak / _MEBIBYTE) for peak in found)
