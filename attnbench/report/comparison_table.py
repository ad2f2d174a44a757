"""A comparison as a sheet: the summary, then every cell that is not stable, worst first."""

from __future__ import annotations

from collections.abc import Iterator

from attnbench.comparison.definitions import CellVerdict, Comparison, Verdict
from attnbench.core.text import plural
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.report.numbers import NOTHING, mebibytes, optional, ratio_interval, rounded

_MOST_DIFFERENCES = 8
_REASONS = "why"
_LEAST_CASE = 13
_LEAST_REASON = 23
"""The longest word of a reason: a narrower column would break it."""


def comparison_table(comparison: Comparison, *, everything: bool = False) -> Sheet:
    """Lay out a comparison.

    Args:
        comparison: What was found.
        everything: Whether to list stable cells, too.
    """
    shown = [cell for cell in comparison.cells if everything or cell.flaky or cell.verdict is not Verdict.STABLE]
    where = ", ".join(filter(None, (comparison.suite, comparison.device)))
    sides = f"{comparison.candidate} against {comparison.base}"
    return Sheet(
        heading=f"{sides} ({where})" if where else sides,
        question=summary(comparison),
        grids=(Grid(title="worst first", columns=tuple(_columns(shown))),) if shown else (),
        notes=tuple(_notes(comparison, hidden=len(comparison.cells) - len(shown))),
    )


def summary(comparison: Comparison) -> str:
    """One sentence: cells by verdict, and the smallest slowdown that could have been detected."""
    by_memory = sum(cell.by_memory_alone and not cell.flaky for cell in comparison.cells)
    remarks = {Verdict.REGRESSED: f" ({by_memory} by memory alone)" if by_memory else ""}
    counts = ", ".join(f"{count} {verdict}{remarks.get(verdict, '')}" for verdict, count in comparison.counts.items())
    counted = len(comparison.cells) - comparison.not_measured - comparison.flaky
    parts = [f"{plural(counted, 'cell')}: {counts or 'none'}"]
    if comparison.flaky:
        parts.append(f"{plural(comparison.flaky, 'flaky cell')} not counted")
    if comparison.not_measured:
        parts.append(f"{plural(comparison.not_measured, 'more cell')} not measured in either")
    if comparison.min_detectable_ratio is not None:
        parts.append(f"fails on slowdowns of at least {100 * (comparison.fail_above - 1):.3g} %")
        detectable = 100 * (comparison.min_detectable_ratio - 1)
        parts.append(f"smallest detectable slowdown (median cell): {detectable:.1f} %")
    elif any(cell.ratio is not None for cell in comparison.cells):
        parts.append("with so few runs slowdowns are only suspected")
    else:
        parts.append("no latencies were compared")
    return f"{'; '.join(parts)}."


def _columns(cells: list[CellVerdict]) -> Iterator[Column]:
    def text(header: str, texts: list[str], *, wraps: bool = True, least: int = Column.least) -> Column:
        reasons = header == _REASONS
        return Column(header=header, cells=tuple(texts), numeric=False, wraps=wraps, least=least, footnoted=reasons)

    def numbers(header: str, rank: int, texts: list[str]) -> Column:
        return Column(header=header, cells=tuple(texts), rank=rank)

    ratios = [cell.ratio for cell in cells]
    yield text("verdict", [f"{cell.verdict}{', flaky' if cell.flaky else ''}" for cell in cells], wraps=False)
    yield text("case", [cell.case for cell in cells], least=_LEAST_CASE)
    yield text("backend", [cell.backend for cell in cells])
    yield numbers("ratio", 0, [rounded(ratio.value, ratio.uncertainty) if ratio else NOTHING for ratio in ratios])
    yield numbers("95 % CI", 1, [ratio_interval(ratio) for ratio in ratios])
    yield numbers("base ms", 2, [optional(cell.base_ms) for cell in cells])
    yield numbers("candidate ms", 3, [optional(cell.candidate_ms) for cell in cells])
    if any(cell.p_value is not None for cell in cells):
        yield numbers("p", 4, [NOTHING if cell.p_value is None else f"{cell.p_value:.1e}" for cell in cells])
    yield numbers("peak MiB", 5, [_memory(cell) for cell in cells])
    if any(cell.reason for cell in cells):
        yield text(_REASONS, [cell.reason for cell in cells], least=_LEAST_REASON)


def _notes(comparison: Comparison, *, hidden: int) -> list[str]:
    notes = [f"Judged {comparison.method}.", *comparison.notes]
    if hidden:
        notes.append(f"{plural(hidden, 'stable cell')} not listed (--all).")
    if comparison.fingerprint_mismatch:
        notes.append(f"Compared anyway, though not measured alike: {'; '.join(comparison.fingerprint_mismatch)}.")
    changed = comparison.differences
    if changed:
        more = f" and {len(changed) - _MOST_DIFFERENCES} more" if len(changed) > _MOST_DIFFERENCES else ""
        notes.append(f"What changed in the environment: {'; '.join(changed[:_MOST_DIFFERENCES])}{more}.")
    return notes


def _memory(cell: CellVerdict) -> str:
    peaks = (mebibytes(cell.base_peak_bytes), mebibytes(cell.candidate_peak_bytes))
    return " -> ".join(dict.fromkeys(peaks))
