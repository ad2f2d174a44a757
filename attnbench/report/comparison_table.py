"""A comparison as a sheet: the summary first, then every cell that is not calm, worst first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnbench.comparison.verdict import CellVerdict, Comparison, Verdict
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.report.numbers import NOTHING, interval, known, significant

_CALM = (Verdict.STABLE,)
_MEBIBYTE = 2**20
_MOST_DIFFERENCES = 8
_LEAST_REASON = 23


def verdicts(comparison: Comparison, *, everything: bool = False) -> Sheet:
    """Lay out a comparison.

    Args:
        comparison: What was found.
        everything: Whether to list cells where nothing happened, too.
    """
    shown = [cell for cell in comparison.cells if everything or cell.verdict not in _CALM]
    grids = (_grid(shown),) if shown else ()
    return Sheet(
        heading=_heading(comparison),
        question=summary(comparison),
        grids=grids,
        notes=tuple(_notes(comparison, hidden=len(comparison.cells) - len(shown))),
    )


def _heading(comparison: Comparison) -> str:
    where = ", ".join(filter(None, (comparison.suite, comparison.device)))
    sides = f"{comparison.candidate} against {comparison.base}"
    return f"{sides} ({where})" if where else sides


def summary(comparison: Comparison) -> str:
    """One sentence: what was found, and the smallest change that could have been."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    not_measured = f"; {comparison.not_measured} more could be measured in neither" if comparison.not_measured else ""
    cells = len(comparison.cells) - comparison.not_measured
    return f"{cells} cell{'' if cells == 1 else 's'}: {counts}{not_measured}; {_sight(comparison)}."


def _sight(comparison: Comparison) -> str:
    """What would have failed, and what could have been seen."""
    if comparison.min_detectable_ratio is not None:
        return (
            f"a slowdown fails from {100 * (comparison.fail_above - 1):.3g} % on, and in the median cell it could have "
            f"seen one of {100 * (comparison.min_detectable_ratio - 1):.1f} %"
        )
    if any(cell.ratio is not None for cell in comparison.cells):
        return "beside so few runs no slowdown is confirmed"
    return "no latencies were compared"


def _grid(cells: list[CellVerdict]) -> Grid:
    return Grid(title="the worst first", columns=tuple(_columns(cells)))


def _columns(cells: list[CellVerdict]) -> Iterator[Column]:
    def column(header: str, rank: int, texts: list[str], *, numeric: bool = True, wraps: bool = False) -> Column:
        return Column(header=header, cells=tuple(texts), numeric=numeric, rank=rank, wraps=wraps)

    yield column("verdict", 0, [str(cell.verdict) for cell in cells], numeric=False)
    yield column("case", 0, [cell.case for cell in cells], numeric=False, wraps=True)
    yield column("backend", 0, [cell.backend for cell in cells], numeric=False, wraps=True)
    yield column("ratio", 0, [_ratio(cell) for cell in cells])
    yield column("95 % interval", 1, [_interval(cell) for cell in cells])
    yield column("base ms", 2, [_milliseconds(cell.base_ms) for cell in cells])
    yield column("candidate ms", 3, [_milliseconds(cell.candidate_ms) for cell in cells])
    if any(cell.p_value is not None for cell in cells):
        yield column("p", 4, [NOTHING if cell.p_value is None else f"{cell.p_value:.1e}" for cell in cells])
    yield column("peak MiB", 5, [_memory(cell) for cell in cells])
    if any(cell.reason for cell in cells):
        reasons = column("why", 0, [cell.reason for cell in cells], numeric=False, wraps=True)
        yield replace(reasons, least=_LEAST_REASON)


def _notes(comparison: Comparison, *, hidden: int) -> list[str]:
    said = [f"Judged {comparison.method}.", *comparison.notes]
    if hidden:
        said.append(f"{hidden} stable cell{' is' if hidden == 1 else 's are'} not listed (--all).")
    if comparison.fingerprint_mismatch:
        said.append(f"Compared anyway, though not measured alike: {'; '.join(comparison.fingerprint_mismatch)}.")
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
    peaks = (cell.base_peak_bytes, cell.candidate_peak_bytes)
    found = [NOTHING if peak is None else significant(peak / _MEBIBYTE) for peak in peaks]
    return " -> ".join(dict.fromkeys(found))
