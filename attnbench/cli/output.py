"""Stdout in the format that was asked for, and errors as exit codes."""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from attnbench.cli.streams import drawable, is_plain, say, width
from attnbench.core.errors import AttnbenchError, LostOutputError, UsageError
from attnbench.core.text import echoed

if TYPE_CHECKING:
    from attnbench.report.layout import Sheet

_BROKEN = 3
"""The exit code of a run that broke; 1 means a regression and nothing else."""
_NAMES = (errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES)
"""What the system says of a path that was given."""


class Format(StrEnum):
    """What a table is printed as."""

    RICH = "rich"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"
    SVG = "svg"
    """A picture of the terminal."""


Rendering = Annotated[
    Format,
    typer.Option("--format", metavar="FORMAT", help="rich, markdown, csv, json, or svg: a picture of the table."),
]


def print_sheet(sheet: Sheet, output_format: Format = Format.RICH) -> None:
    """Write a sheet to stdout, as wide as the terminal or COLUMNS."""
    from attnbench.report import markdown, terminal

    if output_format is Format.MARKDOWN:
        write(markdown.render(sheet))
        return
    if output_format is Format.SVG:
        command_line = shlex.join(["attnbench", *sys.argv[1:]])
        write(terminal.picture(sheet, width=width(), title=command_line.partition(" --format")[0]))
        return
    write(terminal.render(sheet, width=width(), color=not is_plain(sys.stdout)))


def print_rows(
    sheet: Sheet, output_format: Format, *, name: str, rows: Sequence[Mapping[str, Any]], **fields: Any
) -> None:
    """Write a table to stdout: as a sheet, or as data.

    Args:
        sheet: The table laid out.
        output_format: How to write it.
        name: What the rows are called in JSON.
        rows: The table as data, a mapping per row.
        **fields: What else JSON has.
    """
    from attnbench.report import data

    if output_format is Format.CSV:
        write(data.lines(rows))
    elif output_format is Format.JSON:
        write(data.document({**fields, name: rows}))
    else:
        print_sheet(sheet, output_format)


def command(body: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command: one sentence for a user's mistake, a traceback only for a bug."""

    @functools.wraps(body)
    def guarded(*arguments: object, **options: object) -> None:
        try:
            body(*arguments, **options)
        except AttnbenchError as error:
            say(f"attnbench: {error}")
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            say("attnbench: interrupted")
            sys.exit(_BROKEN)
        except OSError as error:
            if error.errno not in _NAMES:
                _report_a_bug()
            where = "the working directory" if error.filename is None else echoed(os.fsdecode(error.filename))
            say(f"attnbench: {where}: {error.strerror}; give a path that can be used here")
            sys.exit(UsageError.exit_code)
        except Exception:
            _report_a_bug()

    # Help breaks lines itself, at the terminal's width.
    paragraphs = inspect.cleandoc(body.__doc__ or "").split("\n\n")
    guarded.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return guarded


def _report_a_bug() -> NoReturn:
    import traceback

    with contextlib.suppress(OSError):  # stderr is full
        traceback.print_exc()
    sys.exit(_BROKEN)


def write(text: str) -> None:
    """Write to stdout; a reader that closes it early, such as ``head``, is no error.

    Raises:
        LostOutputError: It cannot be written, such as to a full disk.
    """
    try:
        sys.stdout.write(drawable(text, sys.stdout))
        sys.stdout.flush()
    except OSError as error:
        # Python flushes stdout once more when it exits, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise LostOutputError(f"stdout cannot be written: {error.strerror}") from None
