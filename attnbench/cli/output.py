"""Where commands meet the shell: stdout in the format that was asked for, and what they raise as an exit code."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from attnbench.core.errors import AttnbenchError, LostOutputError

if TYPE_CHECKING:
    from attnbench.report.layout import Sheet

_WIDTH_OF_A_PIPE = 120
_BROKEN = 3
"""The exit code of a run that broke; 1 means a regression and nothing else."""


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


def command(body: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command: one sentence for a person's mistake, a traceback only for ours."""

    @functools.wraps(body)
    def guarded(*arguments: object, **options: object) -> None:
        try:
            body(*arguments, **options)
        except AttnbenchError as error:
            typer.echo(f"attnbench: {error}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            typer.echo("attnbench: interrupted", err=True)
            sys.exit(_BROKEN)
        except Exception:
            import traceback

            traceback.print_exc()
            sys.exit(_BROKEN)

    return guarded


def write(text: str) -> None:
    """Write to stdout; a reader who has seen enough, such as ``head``, is no error.

    Raises:
        LostOutputError: It cannot be written, as where a file that it goes to finds no room.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Python flushes stdout once more when it exits, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise LostOutputError(f"stdout cannot be written: {error.strerror}") from None
