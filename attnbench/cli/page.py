"""How sheets reach stdout, in the format that was asked for."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from attnbench.cli.boundary import write

if TYPE_CHECKING:
    from attnbench.report.sheet import Sheet

_WIDTH_OF_A_PIPE = 120


class Format(StrEnum):
    """How to render."""

    RICH = "rich"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"


Rendering = Annotated[Format, typer.Option("--format", help="How to render it.")]


def print_sheet(sheet: Sheet, output_format: Format = Format.RICH) -> None:
    """Write a sheet to stdout, as wide as the terminal is, or as COLUMNS says."""
    from attnbench.report import markdown, terminal

    if output_format is Format.MARKDOWN:
        write(markdown.render(sheet))
        return
    width = shutil.get_terminal_size(fallback=(_WIDTH_OF_A_PIPE, 24)).columns
    write(terminal.render(sheet, width=width, color=sys.stdout.isatty()))
