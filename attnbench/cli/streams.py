"""Standard streams as they come: closed, full, broken, without colors, or in an encoding that lacks our characters."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import unicodedata
from typing import TextIO

import typer

from attnbench.core.escaping import one_line

_STANDARD = (0, 1, 2)
_NARROWEST = 40
"""Columns; a narrower terminal breaks the lines itself."""
_PIPE_WIDTH, _WIDEST = 120, 1000
_WIDTHS = ("COLUMNS", "TERMINAL_WIDTH")
"""What others read, too, and take for a number."""
_PLAIN_TERMINALS = ("", "dumb", "unknown")
_ORNAMENTS = {"…": "...", "•": "*", "±": "+-", "→": "->"}
_FRAMES, _BLOCKS, _BRAILLE = range(0x2500, 0x2580), range(0x2580, 0x25A0), range(0x2800, 0x2900)
"""Characters that draw tables and charts."""


def make_usable() -> None:
    """See that descriptors 0 to 2 are open, that all characters can be written, and that widths are numbers.

    A socket or file of ours that took the number of a closed one would be written to by whatever prints.
    """
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
    for name in _WIDTHS:
        said = os.environ.get(name, "")
        if not said.isdecimal() or int(said) == 0:
            os.environ.pop(name, None)
        elif int(said) > _WIDEST:
            os.environ[name] = str(_WIDEST)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed when Python started
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """Write a line to stderr, nothing of which a terminal or a log obeys; where nobody can read it, no matter."""
    try:
        typer.echo(one_line(line), err=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Let nothing more be written to a full or broken stream: Python would complain once more when it exits."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_plain(stream: TextIO) -> bool:
    """Whether a stream is no terminal, or one that knows no colors and no movements, or shall use none."""
    return not stream.isatty() or os.environ.get("TERM", "") in _PLAIN_TERMINALS or bool(os.environ.get("NO_COLOR"))


def width() -> int:
    """Columns of the terminal, or what COLUMNS says."""
    return max(_NARROWEST, shutil.get_terminal_size(fallback=(_PIPE_WIDTH, 24)).columns)


def drawable(text: str, stream: TextIO) -> str:
    """Text whose frames and charts are drawn with what the stream's encoding has; names are spelled when written.

    >>> import io
    >>> drawable("──┼ 1…", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    '--+ 1...'
    """
    try:
        text.encode(stream.encoding or "utf-8", "strict")
    except (UnicodeEncodeError, LookupError):
        return "".join(map(_ascii, text))
    return text


def _ascii(character: str) -> str:
    code = ord(character)
    if code in _FRAMES:
        name = unicodedata.name(character, "")
        is_corner = " AND " in name
        return "+" if is_corner else "-" if name.endswith("HORIZONTAL") else "|"
    if code in _BLOCKS or code in _BRAILLE:
        return "*"
    return _ORNAMENTS.get(character, character)
