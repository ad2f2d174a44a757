"""``attnbench recommend``."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnbench.cli import options
from attnbench.cli.output import Format, print_sheet, write
from attnbench.cli.streams import say
from attnbench.core.problem import Bias, Dtype, Mode, Padding, Pattern, Scope

if TYPE_CHECKING:
    from attnbench.core.problem import Problem
    from attnbench.results.store import StoredRun

_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


class Answer(StrEnum):
    """What an answer is printed as."""

    RICH = "rich"
    MARKDOWN = "markdown"
    JSON = "json"


def recommend(
    *,
    resolution: Annotated[str, typer.Option(metavar="SIZE", help="The map in tokens: 56, or 200x334.")],
    window: Annotated[str, typer.Option(metavar="SIZE", help="The window: 7, or 7x14.")],
    heads: Annotated[int, typer.Option(help="Attention heads.")],
    dtype: Annotated[Dtype, typer.Option(help="float32, float16 or bfloat16.")] = Dtype.FLOAT32,
    batch: Annotated[
        int | None, typer.Option(help="Images (default: as many as runs measured at this map and window).")
    ] = None,
    head_dim: Annotated[int, typer.Option(help="Channels of each head.")] = 32,
    mode: Annotated[Mode, typer.Option(help="forward, or forward_backward for training.")] = Mode.FORWARD,
    pattern: Annotated[Pattern, typer.Option(help="grouped as in Twins, or shifted as in Swin.")] = Pattern.GROUPED,
    padding: Annotated[Padding, typer.Option(help="masked: padded tokens take no part in the softmax.")] = Padding.ZERO,
    bias: Annotated[Bias, typer.Option(help="relative: a learned relative position bias.")] = Bias.NONE,
    scope: Annotated[Scope, typer.Option(help="What is timed: map, windows (attention alone) or layer.")] = Scope.MAP,
    memory_limit: Annotated[
        str | None, typer.Option(metavar="BYTES", help="The most that one call may allocate: 512MiB, 2GiB.")
    ] = None,
    runs: Annotated[
        list[Path], typer.Option("--from", metavar="RUN", help="A run, or a directory of runs (default: results); "
                                 "repeatable.")
    ] = [],  # noqa: B006 - typer wants a list
    output_format: Annotated[Answer, typer.Option("--format", help="Output format.")] = Answer.RICH,
) -> None:  # fmt: skip
    """Recommend a backend for a problem, from stored runs, with how sure that is and the memory it takes.

    The newest run that measured the problem decides. Between measured sizes a power law does, where it predicts every
    measured latency within 15 %. Exits with 4 where runs do not cover the problem.
    """
    from attnbench.analysis import recommendation
    from attnbench.core.problem import Problem
    from attnbench.report.data import document
    from attnbench.report.recommendation_table import declined_data, recommendation_data, recommendation_table
    from attnbench.results.journal import RESULTS

    limit = _bytes(memory_limit)
    (height, width), (tall, wide) = options.read_size("--resolution", resolution), options.read_size("--window", window)
    problem = Problem(
        batch=1 if batch is None else batch, height=height, width=width, window_height=tall, window_width=wide,
        heads=heads, head_dim=head_dim, dtype=dtype, mode=mode, pattern=pattern, padding=padding, bias=bias,
        scope=scope,
    )  # fmt: skip
    found = recommendation.read_runs(runs or [RESULTS], say=say)
    if batch is None:
        problem = _with_measured_batch(problem, found)
    try:
        answer = recommendation.recommend(found, problem, memory_limit=limit)
    except recommendation.NotCoveredError as error:
        if output_format is Answer.JSON:
            write(document(declined_data(problem.to_json(), str(error))))
        raise
    if output_format is Answer.JSON:
        write(document(recommendation_data(answer)))
    else:
        print_sheet(recommendation_table(answer), Format(output_format))


def _with_measured_batch(problem: Problem, runs: list[StoredRun]) -> Problem:
    """The problem with the largest batch that the newest run measured at its map and window."""
    from dataclasses import replace

    for run in runs:
        table = run.table
        alike = table[
            (table["height"] == problem.height)
            & (table["width"] == problem.width)
            & (table["window_height"] == problem.window_height)
            & (table["window_width"] == problem.window_width)
            & (table["status"] == "ok")
        ]
        if len(alike):
            return replace(problem, batch=int(alike["batch"].max()))
    return problem


def _bytes(text: str | None) -> int | None:
    from attnbench.core.errors import UsageError

    if text is None:
        return None
    parts = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) *([A-Za-z]*)", text)
    if parts is None or parts[2] not in _UNITS:
        raise UsageError(f"--memory-limit {text}: not a size (allowed: bytes, or with {', '.join(list(_UNITS)[1:])})")
    return int(float(parts[1]) * _UNITS[parts[2]])
