"""Sheets on a terminal, through rich."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnbench.core.escaping import one_line
from attnbench.report.layout import GAP, Grid, Sheet, fit, respelled

_TALL = 25
_Side = Literal["left", "right"]


def render(sheet: Sheet, *, width: int, color: bool = False) -> str:
    """The sheet as lines of at most ``width`` characters; a note names the columns that do not fit.

    Args:
        sheet: What to show.
        width: Characters a line.
        color: Whether to use a terminal's bold and dim.
    """
    buffer = io.StringIO()
    # With a height, because of a dumb terminal rich would else believe that it has 80 columns.
    console = Console(
        file=buffer, width=width, height=_TALL, force_terminal=color, color_system="standard" if color else None
    )
    console.print(_laid_out(sheet, width))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def picture(sheet: Sheet, *, width: int, title: str) -> str:
    """The same as an SVG picture of a terminal, which needs no font of its own.

    Args:
        sheet: What to show.
        width: Characters a line.
        title: Stands above, such as the command.
    """
    console = Console(
        file=io.StringIO(), width=width, height=_TALL, record=True, force_terminal=True, color_system="truecolor"
    )
    console.print(_laid_out(sheet, width))
    svg = console.export_svg(title=title, unique_id="attnbench")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # it would load fonts from elsewhere


def _laid_out(sheet: Sheet, width: int) -> Group:
    clean = respelled(sheet, one_line)
    aligned = (replace(grid, columns=tuple(column.aligned for column in grid.columns)) for grid in clean.grids)
    fitted = fit(replace(clean, grids=tuple(aligned)), width)
    parts: list[RenderableType] = [Text(fitted.heading, style="bold")]
    parts += [Text(fitted.question, style="italic")] if fitted.question else []
    parts += [Text(""), *(_table(grid, width) for grid in fitted.grids)]
    notes = Table.grid(padding=(0, 1, 0, 0))
    notes.add_column()
    notes.add_column(overflow="fold")  # a long word is broken, never cut off
    for note in fitted.notes:
        notes.add_row(Text("*"), Text(note))
    return Group(*parts, notes)


def _table(grid: Grid, width: int) -> RenderableType:
    """A table as lines: rich's own table takes twenty times as long, and thousands of cells are waited for."""
    widths = grid.widths(width)
    sides: list[_Side] = ["right" if column.numeric else "left" for column in grid.columns]
    header = _lines([column.header for column in grid.columns], widths, sides, from_below=True)
    # Text, not str, everywhere: rich takes '[...]' in a string for its own markup and drops it.
    lines = [Text(grid.title, style="bold cyan")]
    lines += [Text(grid.subtitle, style="dim")] if grid.subtitle else []
    lines += [*(Text(line, style="bold") for line in header), Text("\u2500" * cell_len(header[0]))]
    marks = [column.cells for column in grid.columns if column.marks]
    for number, row in enumerate(grid.rows):
        style = "bold green" if any(cells[number] for cells in marks) else ""
        lines += [Text(line, style=style) for line in _lines(row, widths, sides)]
    return Group(*lines, Text(""))


def _lines(
    cells: Sequence[str], widths: Sequence[int], sides: Sequence[_Side], *, from_below: bool = False
) -> list[str]:
    """The lines of a row: a cell that is wider than its column has several."""
    parts = [_padded(*one) for one in zip(cells, widths, sides, strict=True)]
    height = max(map(len, parts))
    for lines, width in zip(parts, widths, strict=True):
        at = 0 if from_below else len(lines)
        lines[at:at] = [" " * width] * (height - len(lines))
    return [(" " * GAP).join(line) for line in zip(*parts, strict=True)]


def _padded(text: str, width: int, side: _Side) -> list[str]:
    spare = width - cell_len(text)
    if spare >= 0:
        return [" " * spare + text if side == "right" else text + " " * spare]
    return [line.plain for line in Text(text).wrap(Console(), width, justify=side, overflow="fold")]
