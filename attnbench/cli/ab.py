"""``attnbench ab``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnbench.cli.conclusion import (
    Everything,
    Exports,
    FailAbove,
    Strict,
    conclude,
    read_exports,
    read_margin,
)
from attnbench.cli.page import Format, Rendering

if TYPE_CHECKING:
    from attnbench.comparison.noise import Noise
    from attnbench.execution.alternation import Side


def ab(
    suite: Annotated[str, typer.Argument(help="A suite's file, or the name of one that comes with attnbench.")],
    *,
    base: Annotated[
        str | None,
        typer.Option(metavar="ENV", help="A virtual environment or an interpreter with torch; by default this one."),
    ] = None,
    candidate: Annotated[str | None, typer.Option(metavar="ENV", help="The one to be judged.")] = None,
    base_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put before its Python path: your kernels as they were.")
    ] = None,
    candidate_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put before its Python path: your kernels as they are.")
    ] = None,
    base_backend: Annotated[
        str | None, typer.Option(metavar="B", help="Compare this backend with --candidate-backend, and no others.")
    ] = None,
    candidate_backend: Annotated[str | None, typer.Option(metavar="B", help="The one to be judged.")] = None,
    backend: Annotated[
        list[str], typer.Option("--backend", metavar="B", help="Run this backend instead of the suite's; repeatable.")
    ] = [],  # noqa: B006 - typer wants a list
    override: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change the suite; repeatable.")
    ] = [],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Its directory; by default a new one under results/.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with one that was cut short, given the same options.")
    ] = None,
    noise: Annotated[
        Path | None, typer.Option(metavar="DIR", help="An A/A measurement; by default the newest under results/.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait where another run has the device.")] = False,
    fail_above: FailAbove = None,
    strict: Strict = False,
    everything: Everything = False,
    export: Exports = [],  # noqa: B006
    output_format: Rendering = Format.RICH,
) -> None:
    """Alternate two environments, or two backends, on one device and judge the second one. The gate for CI jobs.

    Five pairs of fresh processes each; what looks changed is measured again in ten more. Ends with 1 where a cell got
    slower by more than 3 % (--fail-above) beyond doubt, takes more memory, or broke.
    """
    from attnbench.cli.progress import observer
    from attnbench.comparison import pairs as found_pairs
    from attnbench.comparison.noise import read_noise, usable_noise
    from attnbench.comparison.rules import CONFIRM_PAIRS, SCREEN_PAIRS
    from attnbench.errors import UsageError
    from attnbench.execution.alternation import Place, SecondStage, alternate
    from attnbench.pairing import BASE, CANDIDATE

    if (base_backend is None) != (candidate_backend is None):
        raise UsageError("--base-backend and --candidate-backend go together; give both")
    if base_backend is not None and backend:
        raise UsageError("--backend: --base-backend and --candidate-backend say already what runs; leave it out")
    if not any((base, candidate, base_path, candidate_path, base_backend)):
        raise UsageError(
            "nothing differs between the two sides; give --base ENV and --candidate ENV, --base-path and "
            "--candidate-path, or --base-backend and --candidate-backend (attnbench noise: a suite beside itself)"
        )
    if resume is not None and output is not None:
        raise UsageError("--resume goes on in the directory it names; leave out --output")
    margin, exports = read_margin(fail_above), read_exports(export)
    if noise is not None:
        read_noise(noise)  # a mistake is told before anything is measured
    options = {
        BASE: (base, base_path, base_backend),
        CANDIDATE: (candidate, candidate_path, candidate_backend),
    }
    sides = read_sides(suite, options, backends=backend, overrides=override, pairs=SCREEN_PAIRS)

    known: list[Noise | None] = []

    def changed(directory: Path) -> set[Place]:
        return found_pairs.changed(found_pairs.read_pairs(directory), noise=known[0])

    with observer() as watching:
        alternation = alternate(
            sides,
            kind="ab",
            pairs=SCREEN_PAIRS,
            second_stage=SecondStage(
                # Asked once, so that both stages know the same.
                begin=lambda environment: known.append(usable_noise(noise, environment.to_json())),
                changed=changed,
                pairs=CONFIRM_PAIRS,
            ),
            output=output,
            resume=resume,
            wait=wait,
            observer=watching,
        )
    typer.echo(f"{alternation.elapsed_s:.0f} s; {alternation.directory}", err=True)
    if alternation.interrupted:
        typer.echo(f"cut short; go on with the same options and --resume {alternation.directory}", err=True)
        sys.exit(3)
    stored = found_pairs.read_pairs(alternation.directory)
    comparison = found_pairs.judge(stored, fail_above=margin, noise=known[0])
    conclude(
        comparison, stored.candidate, output_format=output_format, everything=everything, exports=exports, strict=strict
    )


def read_sides(
    suite: str,
    options: Mapping[str, tuple[str | None, Path | None, str | None]],
    *,
    backends: list[str],
    overrides: list[str],
    pairs: int,
) -> dict[str, Side]:
    """The two sides as they were asked for.

    Args:
        suite: A suite's file, or the name of one that comes with attnbench.
        options: By side, the environment, the directory for its Python path and the backend.
        backends: Backends to run instead of the suite's.
        overrides: ``key=value`` pairs that change the suite.
        pairs: Pairs of the first stage.

    Raises:
        UsageError: An environment, a directory, the suite or a backend is not what was meant.
    """
    from attnbench.backends import registry
    from attnbench.errors import UsageError
    from attnbench.execution.alternation import Side
    from attnbench.execution.interpreter import check_path, find_interpreter, this_interpreter
    from attnbench.suite import load_suite

    if any(override.partition("=")[0].strip() == "measure.blocks" for override in overrides):
        raise UsageError("--set measure.blocks: how many processes there are is part of the rule; leave it out")
    interpreters = {}
    alone = any(environment for environment, _, _ in options.values())
    for name, (environment, path, _) in options.items():
        check_path(path, f"--{name}-path")
        interpreters[name] = (
            this_interpreter(path=path, alone=alone)
            if environment is None
            else find_interpreter(environment, f"--{name}", path=path)
        )
    installed = (found for one in interpreters.values() for found in one.backends)
    known = tuple(sorted({*registry.names(), *installed}))
    return {
        name: Side(
            suite=load_suite(
                suite,
                known_backends=known,
                backends=[backend] if backend else backends,
                overrides=[*overrides, f"measure.blocks={pairs}"],
            ),
            interpreter=interpreters[name],
            named=environment or "this environment",
            known_backends=known,
        )
        for name, (environment, _, backend) in options.items()
    }
