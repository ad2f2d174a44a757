"""What became of a cell, in a line of plain text, and in one of its own for every fact."""

from __future__ import annotations

from attnbench.comparison.verdict import CellVerdict
from attnbench.report.numbers import interval, known, significant


def change(cell: CellVerdict) -> str:
    """How much, how sure, and why.

    >>> from attnbench.comparison.verdict import Verdict
    >>> from attnbench.core.stats import Estimate
    >>> ratio = Estimate(value=1.24, low=1.2, high=1.28)
    >>> change(CellVerdict(case="c", backend="b", verdict=Verdict.REGRESSED, ratio=ratio, base_ms=2, candidate_ms=2.48))
    'ratio 1.24 (95 % interval 1.20 to 1.28), 2.00 -> 2.48 ms'
    """
    said = []
    if cell.ratio is not None:
        value, low, high = cell.ratio.value, cell.ratio.low, cell.ratio.high
        sure = [f"95 % interval {interval(value, low, high)}"] if low is not None and high is not None else []
        sure += [f"p {cell.p_value:.1e}"] if cell.p_value is not None else []
        said.append(
            f"ratio {known(value, cell.ratio.uncertainty)} ({', '.join(sure) or 'how sure is not known'}), "
            f"{_milliseconds(cell.base_ms)} -> {_milliseconds(cell.candidate_ms)} ms"
        )
    return "; ".join(filter(None, (*said, cell.reason))) or str(cell.verdict)


def facts(cell: CellVerdict, *, fail_above: float) -> str:
    """Everything known of a verdict, unrounded; what a cell does not have is left out.

    Args:
        cell: The verdict.
        fail_above: The smallest ratio that counts as a regression.
    """
    ratio = cell.ratio
    found = {
        "verdict": cell.verdict,
        "reason": cell.reason or None,
        "ratio": ratio and ratio.value,
        "ratio_low": ratio and ratio.low,
        "ratio_high": ratio and ratio.high,
        "p": cell.p_value,
        "fails_above": fail_above,
        "min_detectable_ratio": cell.min_detectable_ratio,
        "base_status": cell.base_status,
        "candidate_status": cell.candidate_status,
        "base_ms": cell.base_ms,
        "candidate_ms": cell.candidate_ms,
        "base_peak_bytes": cell.base_peak_bytes,
        "candidate_peak_bytes": cell.candidate_peak_bytes,
        "base_kernel": cell.base_kernel or None,
        "candidate_kernel": cell.candidate_kernel or None,
    }
    return "\n".join(f"{name}: {value}" for name, value in found.items() if value is not None)


def _milliseconds(value: float | None) -> str:
    return "?" if value is None else significant(value)
