"""The formats that ``--format`` prints, too: CSV, and Markdown of the whole sheet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from attnbench.exports.escaping import one_line
from attnbench.exports.results import Subject
from attnbench.report import data
from attnbench.report import markdown as markdown_sheets
from attnbench.report.comparison_table import verdicts
from attnbench.report.layout import Grid, Sheet
from attnbench.report.run_table import sheet


def csv(subject: Subject) -> str:
    """A line per cell; what a cell does not have is empty."""
    if subject.comparison is not None:
        return data.verdicts_csv(subject.comparison)
    assert subject.run is not None
    return data.render_csv(subject.run)


def markdown(subject: Subject) -> str:
    """The sheet of the comparison, every cell in it; or of a run alone."""
    if subject.comparison is not None:
        return markdown_sheets.render(respelled(verdicts(subject.comparison, everything=True), one_line))
    assert subject.run is not None
    return markdown_sheets.render(respelled(sheet(subject.run), one_line))


def respelled(found: Sheet, spell: Callable[[str], str]) -> Sheet:
    """A sheet with every text of it changed."""

    def grid(raw: Grid) -> Grid:
        columns = tuple(
            replace(column, header=spell(column.header), cells=tuple(map(spell, column.cells)))
            for column in raw.columns
        )
        return replace(raw, title=spell(raw.title), subtitle=spell(raw.subtitle), columns=columns)

    return Sheet(
        heading=spell(found.heading),
        question=spell(found.question),
        grids=tuple(map(grid, found.grids)),
        notes=tuple(map(spell, found.notes)),
    )
