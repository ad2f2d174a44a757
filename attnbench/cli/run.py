"""``attnbench run``."""

from __future__ import annotations

import sys
from collections.abc import Collection
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnbench.cli import options
from attnbench.cli.finish import FAILED, end, errors_exported, kept, results, write_exports
from attnbench.cli.output import print_sheet, write
from attnbench.cli.streams import say

_SMALLEST_IMAGE, _PATCHES = 224, (4, 16)
"""Pixels: of images that models are trained on, and of the patches that become tokens."""

if TYPE_CHECKING:
    from attnbench.core.errors import LostOutputError
    from attnbench.suite.expansion import Suite


def run(
    suite: options.SuiteName,
    *,
    backend: options.Backends = [],  # noqa: B006 - typer wants a list
    case: options.Cases = [],  # noqa: B006
    override: options.Overrides = [],  # noqa: B006
    output: options.Output = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Resume an interrupted run: measure what is missing.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure one process: fast, but without intervals.")] = False,
    rigorous: Annotated[bool, typer.Option("--rigorous", help="Measure ten processes: narrower intervals.")] = False,
    wait: options.Wait = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 also if a cell runs out of memory or time.")
    ] = False,
    export: options.Exports = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cases with the work each asks for, and stop.")
    ] = False,
    assume: Annotated[
        str | None,
        typer.Option(
            metavar="GPU|RUN",
            help="With --dry-run: the least time of every case by a GPU's datasheet (a100, h100, h200, b200, l40s, "
            "rtx4090) or by the ceilings that a stored run measured.",
        ),
    ] = None,
) -> None:
    """Measure every case of a suite with every backend. Prints the tables to stdout, everything else to stderr.

    Exits with 1 if a cell is wrong_result, error or crashed. A cell that runs out of memory or time does not count as
    broken, unless --strict is given.
    """
    from attnbench.backends import registry
    from attnbench.suite.expansion import load_suite

    _check_together(quick=quick, rigorous=rigorous, assume=assume, dry_run=dry_run)
    resume = options.check_resume(resume, output)
    processes = ["measure.processes=1"] if quick else ["measure.processes=10"] if rigorous else []
    loaded = load_suite(
        suite, known_backends=registry.names(), backends=backend, only=case, overrides=[*processes, *override]
    )
    exports = options.read_exports(export)
    if dry_run:
        _print_plan(loaded, assume)
        return
    from attnbench.cli.progress import opened, progress, summary
    from attnbench.report.answer_table import answer_grid
    from attnbench.report.run_table import run_table
    from attnbench.run.runner import open_run

    opening = partial(open_run, loaded, output=output, resume=resume)
    with errors_exported(exports), opened(opening, wait=wait) as session, progress() as shown:
        for event in session.measure(session.rounds):
            shown.show(event)
    (outcome,) = session.outcomes.values()
    lost: list[LostOutputError] = []
    if outcome.stored is not None:
        with kept(lost):
            print_sheet(run_table(outcome.stored))
    say(summary(outcome))
    if outcome.stored is not None and (answered := answer_grid(outcome.stored, baseline=outcome.stored.baseline)):
        say(answered.title)  # once more where the eye is after a long table
    say(str(outcome.directory))
    if outcome.interrupted:
        say(f"resume it with: attnbench run {suite} --resume {outcome.directory}")
    if outcome.stored is not None:
        with kept(lost):
            write_exports(exports, run=outcome.stored, strict=strict)
    if outcome.interrupted or outcome.stored is None or not outcome.measured:
        sys.exit(3)
    end(lost, FAILED if results(outcome.stored, strict=strict).failed else 0)


def _check_together(*, quick: bool, rigorous: bool, assume: str | None, dry_run: bool) -> None:
    from attnbench.core.errors import UsageError

    if quick and rigorous:
        raise UsageError("--quick and --rigorous exclude one another; give one")
    if assume is not None and not dry_run:
        raise UsageError("--assume goes with --dry-run: a run measures its ceilings itself")


def _print_plan(suite: Suite, assume: str | None) -> None:
    import time

    from attnbench.report.dry_run_table import plan_lines, read_assumed

    assumed = None if assume is None else read_assumed(assume)
    device = suite.device if assumed is None else assumed.device
    if assumed is None and suite.needs_device():
        from attnbench.run.process_pool import ProcessPool
        from attnbench.run.sides import describe_suite

        with closing(ProcessPool(suite.measure)) as pool:
            device = describe_suite(pool, suite).environment.device
    began = time.perf_counter()
    cases = suite.cases(device)
    seconds = time.perf_counter() - began
    write("".join(f"{line}\n" for line in plan_lines(cases, assumed)))
    if note := _looks_like_pixels({case.problem.height for case in cases if case.problem.height == case.problem.width}):
        say(note)
    say(
        f"cases: {len(cases)}, backends: {len(suite.backends)}, cells: {len(cases) * len(suite.backends)}, "
        f"processes: {suite.measure.processes}, device: {device}; expanded in {seconds:.2f} s"
    )


def _looks_like_pixels(sides: Collection[int]) -> str:
    """What to say of square maps whose sides are those of images rather than of maps; empty where there are none."""
    found = sorted(side for side in sides if side >= _SMALLEST_IMAGE and side % _PATCHES[-1] == 0)
    if not found:
        return ""
    side = found[0]
    maps = " or ".join(f"{side // patch} (patches of {patch})" for patch in _PATCHES)
    return f"note: resolution counts tokens, not pixels; the map of an image of {side} pixels is {maps}"
