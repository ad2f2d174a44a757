"""A change of a cell as one sentence."""

from __future__ import annotations

from attnbench.comparison.definitions import CellVerdict
from attnbench.report.numbers import optional, ratio_interval, rounded


def change(cell: CellVerdict) -> str:
    """How much a cell changed, how certain that is, and why.

    >>> from attnbench.comparison.definitions import Verdict
    >>> from attnbench.core.stats import Estimate
    >>> ratio = Estimate(value=1.24, low=1.2, high=1.28)
    >>> change(CellVerdict(case="c", backend="b", verdict=Verdict.REGRESSED, ratio=ratio, base_ms=2, candidate_ms=2.48))
    'ratio 1.24 (95 % interval 1.20 to 1.28), 2.00 -> 2.48 ms'
    """
    parts = []
    if (ratio := cell.ratio) is not None:
        certainty = [] if ratio.uncertainty is None else [f"95 % interval {ratio_interval(ratio)}"]
        certainty += [] if cell.p_value is None else [f"p {cell.p_value:.1e}"]
        known = f"ratio {rounded(ratio.value, ratio.uncertainty)} ({', '.join(certainty) or 'interval not known'})"
        parts.append(f"{known}, {optional(cell.base_ms)} -> {optional(cell.candidate_ms)} ms")
    return "; ".join(filter(None, (*parts, cell.reason))) or str(cell.verdict)
