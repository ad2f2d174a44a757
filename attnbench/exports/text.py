"""Text in exports: characters that a format cannot hold, and a change as one sentence."""

from __future__ import annotations

import re

from attnbench.comparison.verdict import CellVerdict
from attnbench.report.numbers import interval_of, optional, rounded

_COLORS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
"""Control sequences of terminals (ECMA-48, section 5.4), and those that set a terminal's title."""
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML 1.0 forbids (section 2.2) or discourages."""
_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""The same, and every character that starts a new line."""


def legal(text: str) -> str:
    r"""Text that XML, JSON and UTF-8 can hold: terminal colors are removed, other control characters are spelled.

    >>> print(legal("\x1b[31mred\x1b[0m, bell \x07"))
    red, bell \x07
    """
    return _ILLEGAL.sub(_spelled, _COLORS.sub("", text))


def one_line(text: str) -> str:
    r"""Legal text in one line: line breaks are spelled, too.

    >>> print(one_line("first\nsecond"))
    first\nsecond
    """
    return _BREAKING.sub(_spelled, _COLORS.sub("", text))


def shortened(text: str, characters: int) -> str:
    """Text of at most so many characters; an ellipsis marks what was cut off.

    >>> shortened("sdpa_efficient", 6)
    'sdpa_…'
    """
    return text if len(text) <= characters else text[: characters - 1] + "…"


def change(cell: CellVerdict) -> str:
    """How much a cell changed, how certain that is, and why.

    >>> from attnbench.comparison.verdict import Verdict
    >>> from attnbench.core.stats import Estimate
    >>> ratio = Estimate(value=1.24, low=1.2, high=1.28)
    >>> change(CellVerdict(case="c", backend="b", verdict=Verdict.REGRESSED, ratio=ratio, base_ms=2, candidate_ms=2.48))
    'ratio 1.24 (95 % interval 1.20 to 1.28), 2.00 -> 2.48 ms'
    """
    parts = []
    if (ratio := cell.ratio) is not None:
        certainty = [] if ratio.uncertainty is None else [f"95 % interval {interval_of(ratio)}"]
        certainty += [] if cell.p_value is None else [f"p {cell.p_value:.1e}"]
        known = f"ratio {rounded(ratio.value, ratio.uncertainty)} ({', '.join(certainty) or 'interval not known'})"
        parts.append(f"{known}, {optional(cell.base_ms)} -> {optional(cell.candidate_ms)} ms")
    return "; ".join(filter(None, (*parts, cell.reason))) or str(cell.verdict)


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
