"""``attnbench ab``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli.finish import (
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
from attnbench.cli.output import Format, Rendering
from attnbench.cli.sides import Wanted, open_sides, read_sides


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
    """Sample two environments, or two backends, in turn on one device and judge the second. The gate for CI jobs.

    Five rounds of fresh processes, whatever processes the suite asks for; what looks changed is measured in ten more.
    Ends with 1 where a cell got slower beyond doubt and by 3 % or more (--fail-above), takes more memory, or broke.
    """
    from attnbench.cli.progress import progress
    from attnbench.comparison import pairs as found_pairs
    from attnbench.comparison.noise import read_noise, usable_noise
    from attnbench.comparison.rules import CONFIRM_PAIRS, SCREEN_PAIRS
    from attnbench.core.errors import InterruptedRunError, UsageError
    from attnbench.results.pairs import BASE, CANDIDATE

    if not any((base, candidate, base_path, candidate_path, base_backend, candidate_backend)):
        raise UsageError(
            "nothing differs between the two sides; give --base ENV and --candidate ENV, --base-path and "
            "--candidate-path, or --base-backend and --candidate-backend (attnbench noise: a suite beside itself)"
        )
    _check_backends(base_backend, candidate_backend, backend)
    if resume is not None and output is not None:
        raise UsageError("--resume goes on in the directory it names; leave out --output")
    margin, exports = read_margin(fail_above), read_exports(export)
    like = None if noise is None else read_noise(noise).fingerprint  # a mistake is told before anything is measured
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
    with told(exports):
        with open_sides(
            read_sides(suite, sides, backends=backend, overrides=override, pairs=SCREEN_PAIRS),
            kind="ab", pairs=SCREEN_PAIRS, output=output, resume=resume, wait=wait, like=like,
        ) as session, progress() as shown:  # fmt: skip
            # Looked for once, so that both stages know the same.
            known = usable_noise(noise, session.outcomes[BASE].environment.to_json())
            shown.announce(f"stage 1 of 2 at most: {SCREEN_PAIRS} rounds of fresh processes, both sides in turn")
            for event in session.measure(range(SCREEN_PAIRS)):
                shown.show(event)
            if not session.interrupted:
                session.finish()
                changed = found_pairs.changed(found_pairs.read_pairs(session.directory), noise=known)
                shown.announce(_second_stage(len(changed), CONFIRM_PAIRS))
                if changed:
                    for event in session.measure(range(SCREEN_PAIRS, SCREEN_PAIRS + CONFIRM_PAIRS), only=changed):
                        shown.show(event)
        typer.echo(f"{session.elapsed_s:.0f} s; {session.directory}", err=True)
        if session.interrupted:
            raise InterruptedRunError(f"cut short; go on with the same options and --resume {session.directory}")
        stored = found_pairs.read_pairs(session.directory)
        comparison = found_pairs.judge(stored, fail_above=margin, noise=known)
    conclude(
        comparison, stored.candidate, output_format=output_format, everything=everything, exports=exports, strict=strict
    )


def _check_backends(base: str | None, candidate: str | None, others: list[str]) -> None:
    from attnbench.core.errors import UsageError

    if (base is None) != (candidate is None):
        raise UsageError("--base-backend and --candidate-backend go together; give both")
    if base is not None and others:
        raise UsageError("--backend: --base-backend and --candidate-backend say already what runs; leave it out")


def _second_stage(changed: int, rounds: int) -> str:
    if not changed:
        return "no latency looks changed: stage 2 is not needed"
    return f"stage 2: {rounds} fresh rounds for what looks changed ({changed} cell{'' if changed == 1 else 's'})"
