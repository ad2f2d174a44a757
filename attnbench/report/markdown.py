"""Sheets as GitHub-flavoured Markdown, every column in it."""

from __future__ import annotations

from attnbench.core.escaping import markdown, markdown_block
from attnbench.report.layout import Grid, Sheet


def render(sheet: Sheet) -> str:
    """The sheet as Markdown."""
    parts = [f"**{markdown(sheet.heading)}**"]
    parts += [markdown_block(sheet.question)] if sheet.question else []
    parts += [_grid(grid) for grid in sheet.grids]
    if sheet.notes:
        parts.append("\n".join(f"- {markdown_block(note)}" for note in sheet.notes))
    return "\n\n".join(parts) + "\n"


def _grid(grid: Grid) -> str:
    lines = [f"#### {markdown(grid.title)}", ""]
    if grid.subtitle:
        lines += [markdown_block(grid.subtitle), ""]
    lines.append(_row([column.header for column in grid.columns]))
    lines.append(_row(["---:" if column.numeric else ":---" for column in grid.columns], escape=False))
    lines += [_row(row) for row in grid.rows]
    return "\n".join(lines)


def _row(cells: list[str] | tuple[str, ...], *, escape: bool = True) -> str:
    return "| " + " | ".join(markdown(cell) if escape else cell for cell in cells) + " |"
