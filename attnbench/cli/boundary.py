"""Where commands meet the shell: what they raise becomes an exit code, once, and output may lose its reader."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

import typer

from attnbench.errors import AttnbenchError, LostOutputError

_BROKEN = 3
"""The exit code of a run that broke; 1 means a regression and nothing else."""


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
