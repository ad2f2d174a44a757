"""``attnbench ab``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnbench.cli import options
from attnbench.cli.finish import conclude, errors_in_summary
from attnbench.cli.output import Format, Rendering
from attnbench.cli.sides import SideOptions, read_sides

if TYPE_CHECKING:
    from attnbench.comparison.noise import Noise
    from attnbench.run.events import Event
    from attnbench.run.session import Session


def ab(
    suite: options.SuiteName,
    *,
    base: options.Environment = None,
    candidate: options.Environment = None,
    base_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory prepended to sys.path on the base side.")
    ] = None,
    candidate_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory prepended to sys.path on the candidate side.")
    ] = None,
    base_backend: Annotated[
        str | None, typer.Option(metavar="B", help="Compare this backend with --candidate-backend, and no others.")
    ] = None,
    candidate_backend: Annotated[str | None, typer.Option(metavar="B", help="See --base-backend.")] = None,
    backend: options.Backends = [],  # noqa: B006 - typer wants a list
    override: options.Overrides = [],  # noqa: B006
    output: options.Output = None,
    resume: options.PairsResume = None,
    noise: options.StoredNoise = None,
    wait: options.Wait = False,
    fail_above: options.FailAbove = None,
    strict: options.Strict = False,
    everything: options.Everything = False,
    export: options.Exports = [],  # noqa: B006
    output_format: Rendering = Format.RICH,
) -> None:
    """Compare two environments, or two backends, sampled in turn on one device. The gate for CI jobs.

    Measures five rounds of fresh processes, whatever the suite's measure.processes, and ten more of the cells that look
    changed. Exits with 1 if a cell is significantly slower and by 3 % or more (--fail-above), takes more memory, or
    broke.
    """
    from attnbench.cli.progress import opened, progress
    from attnbench.comparison.noise import read_noise, usable_noise
    from attnbench.comparison.pairs import judge, read_pairs
    from attnbench.comparison.rules import SCREEN_PAIRS
    from attnbench.core.errors import InterruptedRunError
    from attnbench.results.pairs import BASE, CANDIDATE
    from attnbench.run.runner import open_pairs

    asked = {
        BASE: SideOptions(environment=base, path=base_path, backend=base_backend, prefix="base"),
        CANDIDATE: SideOptions(
            environment=candidate, path=candidate_path, backend=candidate_backend, prefix="candidate"
        ),
    }
    _check_sides(asked[BASE], asked[CANDIDATE], backend)
    options.check_resume(resume, output)
    margin, exports = options.read_margin(fail_above), options.read_exports(export)
    like = None if noise is None else read_noise(noise).fingerprint  # a wrong one fails before anything is measured
    with errors_in_summary(exports):
        sides = read_sides(suite, asked, backends=backend, overrides=override, pairs=SCREEN_PAIRS)
        opening = partial(open_pairs, sides, kind="ab", pairs=SCREEN_PAIRS, output=output, resume=resume, like=like)
        with opened(opening, wait=wait) as session, progress() as shown:
            # Looked up once, so that both stages use the same.
            known_noise = usable_noise(noise, session.outcomes[BASE].environment.to_json())
            for event in _stages(session, known_noise):
                shown.show(event)
        typer.echo(f"{session.elapsed_s:.0f} s; {session.directory}", err=True)
        if session.interrupted:
            raise InterruptedRunError(f"interrupted; resume with the same options and --resume {session.directory}")
        pairs = read_pairs(session.directory)
        comparison = judge(pairs, fail_above=margin, noise=known_noise)
    conclude(
        comparison, pairs.candidate, output_format=output_format, everything=everything, exports=exports, strict=strict
    )


def _stages(session: Session, noise: Noise | None) -> Iterator[Event]:
    """Measure every cell, and then more rounds of those that look changed."""
    from attnbench.comparison.pairs import changed, read_pairs
    from attnbench.comparison.rules import CONFIRM_PAIRS, SCREEN_PAIRS
    from attnbench.core.text import plural
    from attnbench.run.events import Announced

    yield Announced(what=f"stage 1 of at most 2: {SCREEN_PAIRS} rounds of fresh processes, both sides in turn")
    yield from session.measure(range(SCREEN_PAIRS))
    if session.interrupted:
        return
    session.finish()
    suspects = changed(read_pairs(session.directory), noise=noise)
    if not suspects:
        yield Announced(what="no latency looks changed: stage 2 is not needed")
        return
    cells = plural(len(suspects), "cell")
    yield Announced(what=f"stage 2: {CONFIRM_PAIRS} rounds of fresh processes for what looks changed ({cells})")
    yield from session.measure(range(SCREEN_PAIRS, SCREEN_PAIRS + CONFIRM_PAIRS), only=suspects)


def _check_sides(base: SideOptions, candidate: SideOptions, backends: list[str]) -> None:
    from attnbench.core.errors import UsageError

    if not any((side.environment, side.path, side.backend) != (None, None, None) for side in (base, candidate)):
        raise UsageError(
            "nothing differs between the two sides; give --base ENV and --candidate ENV, --base-path and "
            "--candidate-path, or --base-backend and --candidate-backend (attnbench noise runs an A/A test)"
        )
    if (base.backend is None) != (candidate.backend is None):
        raise UsageError("--base-backend and --candidate-backend go together; give both")
    if base.backend is not None and backends:
        raise UsageError("--backend: --base-backend and --candidate-backend already say what runs; leave it out")
