"""Sheets on a terminal, through rich."""

from __future__ import annotations

import io
import re
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attnbench.core.escaping import one_line
from attnbench.report.layout import Grid, Sheet, fit, respelled

_TALL = 25


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
    # Text, not str, everywhere: rich takes '[...]' in a string for its own markup and drops it.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for column, room in zip(grid.columns, grid.widths(width), strict=True):
        table.add_column(
            Text(column.header),
            justify="right" if column.numeric else "left",
            width=room,
            no_wrap=not column.wraps and room >= column.widest,
            overflow="fold",
        )
    marks = [column.cells for column in grid.columns if column.marks]
    for number, row in enumerate(grid.rows):
        stands_out = any(cells[number] for cells in marks)
        table.add_row(*map(Text, row), style="bold green" if stands_out else None)
    titles: list[RenderableType] = [Text(grid.title, style="bold cyan")]
    if grid.subtitle:
        titles.append(Text(grid.subtitle, style="dim"))
    return Padding(Group(*titles, table), (0, 0, 1, 0))
