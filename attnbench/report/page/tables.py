"""The tables of a page that stand there whole; the table of all cells is made by the page itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnbench.analysis.growth import Growth
from attnbench.comparison.definitions import CellVerdict, Comparison, Verdict
from attnbench.report.answer import BACKENDS, Answer, Line
from attnbench.report.charts import answers
from attnbench.report.numbers import optional, ratio_interval, rounded


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the page."""

    ident: str
    title: str
    headers: tuple[str, ...]
    lines: tuple[Line, ...]


def tables(answered: Answer, growths: Sequence[Growth], comparison: Comparison | None) -> list[Table]:
    """Every table that has a row."""
    found = [
        Table(ident="backends", title="Backends", headers=BACKENDS, lines=answered.backends),
        Table(ident="cases", title="Case by case", headers=answered.case_headers, lines=answered.cases),
    ]
    if growths:
        of_growths = ("series", "backend", "exponent (95 %)", "predicted", "sizes", "off a straight line by up to")
        found.append(
            Table(ident="growths", title="Exponents", headers=of_growths, lines=tuple(map(_growth_line, growths)))
        )
    if comparison:
        headers = ("verdict", "case", "backend", "ratio", "95 % interval", "before ms", "now ms", "why")
        lines = tuple(_verdict_line(cell) for cell in comparison.cells if not cell.not_measured)
        found.append(Table(ident="changes", title="Against earlier runs, worst first", headers=headers, lines=lines))
    return [table for table in found if table.lines]


def _growth_line(growth: Growth) -> Line:
    along = growth.series
    predicted = "-" if growth.predicted is None else f"{growth.predicted:g}"
    if growth.agrees is not None:
        predicted += ", inside" if growth.agrees else ", outside"
    sizes_told = f"{growth.smallest} to {growth.largest}, {growth.sizes}"
    title = ": ".join(filter(None, (str(along.axis), along.title)))
    off = f"{100 * (growth.bend - 1):.0f} %"
    texts = (title, growth.backend, answers.exponent_text(growth), predicted, sizes_told, off)
    keys: tuple[float | str, ...] = (
        title,
        growth.backend,
        growth.exponent.value,
        growth.predicted or 0.0,
        float(growth.sizes),
        growth.bend,
    )
    return Line(texts=texts, keys=keys)


def _verdict_line(cell: CellVerdict) -> Line:
    ratio = cell.ratio
    texts = (
        str(cell.verdict),
        cell.case,
        cell.backend,
        "-" if ratio is None else rounded(ratio.value, ratio.uncertainty),
        ratio_interval(ratio),
        optional(cell.base_ms),
        optional(cell.candidate_ms),
        cell.reason,
    )
    value = 0.0 if ratio is None else ratio.value
    order = float(list(Verdict).index(cell.verdict))
    base, now = cell.base_ms or 0.0, cell.candidate_ms or 0.0
    return Line(texts=texts, keys=(order, cell.case, cell.backend, value, value, base, now, cell.reason))
