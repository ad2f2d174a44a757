"""Standard streams as they come: closed, full, broken, or in an encoding that lacks our characters."""

from __future__ import annotations

import contextlib
import io
import os
import sys

import typer

from attnbench.core.escaping import one_line

_STANDARD = (0, 1, 2)


def make_usable() -> None:
    """See that descriptors 0 to 2 are open, and that no character is beyond what stdout and stderr can write.

    A socket or file of ours that took the number of a closed one would be written to by whatever prints.
    """
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
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
    except OSError:  # full or broken: Python would complain once more when it exits
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
