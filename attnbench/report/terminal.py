"""Sheets on a terminal, through rich."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attnbench.report.layout import Grid, Sheet, fit

_MOST_ROWS = 1000
"""rich takes half a millisecond for a row: longer tables are laid out in a plainer way."""
_GAP = "   "


def render(sheet: Sheet, *, width: int, color: bool = False) -> str:
    """The sheet as lines of at most ``width`` characters; columns without room are named in a note.

    Args:
        sheet: What to show.
        width: Characters a line.
        color: Whether to use a terminal's bold and dim.
    """
    fitted = fit(sheet, width)
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, force_terminal=color, color_system="standard" if color else None)
    parts: list[RenderableType] = [Text(fitted.heading, style="bold")]
    parts += [Text(fitted.question, style="italic")] if fitted.question else []
    parts.append(Text(""))
    for grid in fitted.grids:
        if len(grid.rows) <= _MOST_ROWS:
            parts.append(_table(grid, width))
            continue
        console.print(Group(*parts))
        buffer.write(_plain(grid, width))
        parts = []
    notes = Table.grid(padding=(0, 1, 0, 0))
    for note in fitted.notes:
        notes.add_row(Text("*"), Text(note))
    console.print(Group(*parts, notes))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _table(grid: Grid, width: int) -> RenderableType:
    # Text, not str, everywhere: rich would take '[...]' in a string for its own markup and swallow it.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for column, room in zip(grid.columns, grid.widths(width), strict=True):
        table.add_column(
            Text(column.header),
            justify="right" if column.numeric else "left",
            width=room,
            no_wrap=not column.wraps,
            overflow="fold",
        )
    for row in grid.rows:
        table.add_row(*map(Text, row))
    titles: list[RenderableType] = [Text(grid.title, style="bold cyan")]
    if grid.subtitle:
        titles.append(Text(grid.subtitle, style="dim"))
    return Padding(Group(*titles, table), (0, 0, 1, 0))


def _plain(grid: Grid, width: int) -> str:
    """The same columns without rich's table: what it would print of cells that need one line each."""
    widths = grid.widths(width)
    lines = [grid.title, _row(grid, widths, [column.header for column in grid.columns]), "─" * min(width, sum(widths))]
    for row in grid.rows:
        folded = [
            textwrap.wrap(cell, room) or [""] if column.wraps else [cell]
            for column, room, cell in zip(grid.columns, widths, row, strict=True)
        ]
        lines += [_row(grid, widths, parts) for parts in zip_longest(*folded, fillvalue="")]
    return "\n".join([*lines, "", ""])


def _row(grid: Grid, widths: Sequence[int], cells: Sequence[str]) -> str:
    padded = []
    for column, width, cell in zip(grid.columns, widths, cells, strict=True):
        room = " " * (width - cell_len(cell))
        padded.append(room + cell if column.numeric else cell + room)
    return _GAP.join(padded)
