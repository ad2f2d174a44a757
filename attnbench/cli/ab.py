"""``attnbench ab``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnbench.cli.conclusion import (
    conclude,
    read_exports,
    read_margin,
    told,
)
from attnbench.cli.options import (
    Backends,
    Everything,
    Exports,
    FailAbove,
    Overrides,
    PairsOutput,
    PairsResume,
    StoredNoise,
    Strict,
    SuiteName,
    Wait,
)
from attnbench.cli.page import Format, Rendering
from attnbench.cli.sides import Wanted, read_sides

if TYPE_CHECKING:
    from attnbench.comparison.noise import Noise


def ab(
    suite: SuiteName,
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
    backend: Backends = [],  # noqa: B006 - typer wants a list
    override: Overrides = [],  # noqa: B006
    output: PairsOutput = None,
    resume: PairsResume = None,
    noise: StoredNoise = None,
    wait: Wait = False,
    fail_above: FailAbove = None,
    strict: Strict = False,
    everything: Everything = False,
    export: Exports = [],  # noqa: B006
    output_format: Rendering = Format.RICH,
) -> None:
    """Alternate two environments, or two backends, on one device and judge the second one. The gate for CI jobs.

    Five pairs of fresh processes, whatever blocks the suite asks for; what looks changed is measured again in ten more.
    Ends with 1 where a cell got slower beyond doubt and by 3 % or more (--fail-above), takes more memory, or broke.
    """
    from attnbench.cli.progress import observer
    from attnbench.comparison import pairs as found_pairs
    from attnbench.comparison.noise import read_noise, usable_noise
    from attnbench.comparison.rules import CONFIRM_PAIRS, SCREEN_PAIRS
    from attnbench.errors import InterruptedRunError, UsageError
    from attnbench.execution.alternation import SecondStage, alternate
    from attnbench.pairing import BASE, CANDIDATE, Place

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
    sides = {
        name: Wanted(
            environment=environment, environment_option=f"--{name}", path=path, path_option=f"--{name}-path",
            backend=chosen, backend_option=f"--{name}-backend" if chosen else "--backend",
        )
        for name, environment, path, chosen in (
            (BASE, base, base_path, base_backend),
            (CANDIDATE, candidate, candidate_path, candidate_backend),
        )
    }  # fmt: skip
    known: list[Noise | None] = []

    def changed(directory: Path) -> set[Place]:
        return found_pairs.changed(found_pairs.read_pairs(directory), noise=known[0])

    with told(exports):
        with observer() as watching:
            alternation = alternate(
                read_sides(suite, sides, backends=backend, overrides=override, pairs=SCREEN_PAIRS),
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
            raise InterruptedRunError(f"cut short; go on with the same options and --resume {alternation.directory}")
        stored = found_pairs.read_pairs(alternation.directory)
        comparison = found_pairs.judge(stored, fail_above=margin, noise=known[0])
    conclude(
        comparison, stored.candidate, output_format=output_format, everything=everything, exports=exports, strict=strict
    )
