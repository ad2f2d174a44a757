"""``attnbench suites``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli import options
from attnbench.cli.output import Format, Rendering, print_rows, write
from attnbench.cli.streams import say

_MODEL_NAMES = ("swin_t", "swin_s", "swin_b", "swin_l", "twins_svt_s", "twins_svt_b", "twins_svt_l")
"""As in ``suite/published_models.py``, which a test compares: help must not import what it does not need."""


def list_suites(context: typer.Context, *, output_format: Rendering = Format.RICH) -> None:
    """List the suites that come with attnbench, each with the question it answers; show one, or write your own."""
    if context.invoked_subcommand:
        return
    from attnbench.backends import registry
    from attnbench.report.lists import suites_table
    from attnbench.suite.expansion import built_in_suites, load_suite

    loaded = [load_suite(name, known_backends=registry.names()) for name in built_in_suites()]
    rows = [{"suite": one.name, "question": one.description} for one in loaded]
    print_rows(suites_table(rows), output_format, name="suites", rows=rows)


def show_suite(suite: options.SuiteName) -> None:
    """Print a suite's YAML, to read it or to change a copy of it."""
    from attnbench.backends import registry
    from attnbench.suite.expansion import find_suite, load_suite

    load_suite(suite, known_backends=registry.names())
    write(find_suite(suite).read_text(encoding="utf-8"))


def init_suite(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The suite to write; one that is there is kept.")],
    *,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help=f"A published model: {', '.join(_MODEL_NAMES)}.")
    ] = None,
    pixels: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Its images: 224 (the default), or 800x1333.")
    ] = None,
    patch: Annotated[int | None, typer.Option(help="Pixels of a token's side (default: as published, 4).")] = None,
    window: Annotated[
        int | None, typer.Option(help="Tokens of a window's side (default: as published: 7, Swin from 384 pixels 12).")
    ] = None,
) -> None:
    """Write a commented suite to start from: an empty one, or the stages of a published model. Prints its path."""
    from attnbench.core.errors import OutputError, UsageError
    from attnbench.suite import scaffold
    from attnbench.suite.published_models import MODELS

    if model is None and (pixels, patch, window) != (None, None, None):
        raise UsageError("--pixels, --patch and --window go with --model; give a model, too")
    if model is not None and model not in MODELS:
        raise UsageError(f"--model {model}: not a model (allowed: {', '.join(MODELS)})")
    for option, value in (("--patch", patch), ("--window", window)):
        if value is not None and value < 1:
            raise UsageError(f"{option} {value}: not a size (allowed: 1 or more)")
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", file.stem).lstrip("_.-") or "suite"
    if model is None:
        text = scaffold.empty(name=name, file=str(file))
    else:
        sides = options.read_size("--pixels", pixels or "224")
        text = scaffold.of_model(MODELS[model], name=name, file=str(file), pixels=sides, patch=patch, window=window)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise OutputError(f"{file} exists; give another name, or remove it") from None
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror}") from None
    write(f"{file}\n")
    say(f"measure it with: attnbench run {file}")
