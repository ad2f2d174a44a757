"""``attnbench ab``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnbench.cli import options
from attnbench.cli.finish import conclude, errors_exported
from attnbench.cli.output import Format, Rendering, write
from attnbench.cli.sides import SideOptions, read_sides
from attnbench.cli.streams import say

if TYPE_CHECKING:
    from attnbench.comparison.limits import Limits
    from attnbench.run.events import Event
    from attnbench.run.session import Session
    from attnbench.run.sides import Side


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
    case: options.Cases = [],  # noqa: B006
    override: options.Overrides = [],  # noqa: B006
    output: options.Output = None,
    resume: options.PairsResume = None,
    wait: options.Wait = False,
    max_rounds: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="At most N rounds of fresh processes for a cell that is undecided (default: 40)."
        ),
    ] = None,
    fail_above: options.FailAbove = [],  # noqa: B006
    flaky: options.Flaky = [],  # noqa: B006
    strict: options.Strict = False,
    everything: options.Everything = False,
    export: options.Exports = [],  # noqa: B006
    output_format: Rendering = Format.RICH,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print how many cells and rounds there are, how long they take, and stop.")
    ] = False,
) -> None:
    """Compare two environments, two versions of your code, or two backends, sampled in turn on one device: a CI gate.

    Cells are judged after every five rounds of fresh processes. Those that are decided stop, the others go on up to
    --max-rounds; the suite's measure.processes is ignored. Exits with 1 if a cell is significantly slower and by 3 %
    or more (--fail-above), takes more memory, or broke.
    """
    from attnbench.cli.progress import opened, progress, took
    from attnbench.comparison.ab import judge
    from attnbench.comparison.pairs import read_pairs
    from attnbench.comparison.pairs_rule import LOOK_EVERY, MAX_ROUNDS
    from attnbench.core.errors import InterruptedRunError
    from attnbench.results.pairs import BASE, CANDIDATE
    from attnbench.run.events import Announced
    from attnbench.run.runner import open_pairs

    asked = {
        BASE: SideOptions(environment=base, path=base_path, backend=base_backend, prefix="base"),
        CANDIDATE: SideOptions(
            environment=candidate, path=candidate_path, backend=candidate_backend, prefix="candidate"
        ),
    }
    _check_sides(asked[BASE], asked[CANDIDATE], backend)
    options.check_resume(resume, output)
    limits, exports = options.read_limits(fail_above, flaky), options.read_exports(export)
    most = MAX_ROUNDS if max_rounds is None else max_rounds
    with errors_exported(exports):
        sides = read_sides(suite, asked, backends=backend, cases=case, overrides=override, rounds=LOOK_EVERY)
        plan = _plan(sides, limits, most)
        if dry_run:
            write(f"{plan}\n")
            return
        opening = partial(open_pairs, sides, kind="ab", max_rounds=most, output=output, resume=resume)
        with opened(opening, wait=wait) as session, progress() as shown:
            shown.show(Announced(what=plan))
            for event in _rounds(session, limits, most):
                shown.show(event)
        say(took(session))
        if session.interrupted:
            raise InterruptedRunError(f"interrupted; resume with the same options and --resume {session.directory}")
        pairs = read_pairs(session.directory)
        comparison = judge(pairs, limits)
    conclude(
        comparison, pairs.candidate, output_format=output_format, everything=everything, exports=exports, strict=strict
    )


def _rounds(session: Session, limits: Limits, most: int) -> Iterator[Event]:
    """Measure every cell, and then more rounds of those that are undecided."""
    from attnbench.comparison.ab import undecided
    from attnbench.comparison.pairs import read_pairs
    from attnbench.comparison.pairs_rule import next_look
    from attnbench.core.text import plural
    from attnbench.run.events import Announced

    done, only = 0, None
    while done < most:
        look = next_look(done, most)
        yield from session.measure(range(done, look), only=only)
        if session.interrupted:
            return
        session.finish()
        done, only = look, undecided(read_pairs(session.directory), limits)
        if not only:
            yield Announced(what=f"{plural(done, 'round')}: every cell is decided")
            return
        left = "that was the last" if done == most else f"they get more, up to {most}"
        yield Announced(what=f"{plural(done, 'round')}: {plural(len(only), 'cell')} undecided; {left}")


def _plan(sides: Mapping[str, Side], limits: Limits, most: int) -> str:
    """How much there is to measure, and about how long it takes.

    Raises:
        UsageError: A limit names no cell, or in so few rounds nothing is ever confirmed.
    """
    from attnbench.comparison.pairs import label_of
    from attnbench.comparison.pairs_rule import LOOK_EVERY, Budget
    from attnbench.core.errors import UsageError
    from attnbench.core.text import plural
    from attnbench.run.estimate import about

    suite, *_ = (side.suite for side in sides.values())
    cases = suite.cases("cpu" if suite.device == "auto" else suite.device)
    labels = [label_of(both) for both in zip(*(side.suite.backends for side in sides.values()), strict=True)]
    limits.check((case.name, label) for case in cases for label in labels)
    cells = len(cases) * len(labels)
    budget = Budget(cells=cells, max_rounds=most)
    if not budget.can_confirm:
        raise UsageError(
            f"--max-rounds {most}: in so few no change of {plural(cells, 'cell')} is ever confirmed "
            f"(allowed: {budget.fewest_rounds} or more)"
        )
    first = min(LOOK_EVERY, most)
    usual, longest = (about(suite.measure, cells=2 * cells, rounds=rounds) for rounds in (first, most))
    return (
        f"{plural(cells, 'cell')} on two sides: {first} rounds where nothing changed, {usual}; "
        f"{most} at most, {longest}"
    )


def _check_sides(base: SideOptions, candidate: SideOptions, backends: list[str]) -> None:
    from attnbench.core.errors import UsageError

    if not any((side.environment, side.path, side.backend) != (None, None, None) for side in (base, candidate)):
        raise UsageError(
            "nothing differs between the two sides; give --base ENV and --candidate ENV, --base-path and "
            "--candidate-path, or --base-backend and --candidate-backend (attnbench noise runs an A/A test)"
        )
    if base.path and candidate.path and (base.environment, base.backend) == (candidate.environment, candidate.backend):
        from attnbench.core.text import echoed

        if base.path.resolve() == candidate.path.resolve():
            raise UsageError(
                f"--base-path and --candidate-path are both {echoed(str(base.path.resolve()))}; give two directories "
                "(attnbench noise runs an A/A test)"
            )
    if (base.backend is None) != (candidate.backend is None):
        raise UsageError("--base-backend and --candidate-backend go together; give both")
    if base.backend is not None and backends:
        raise UsageError("--backend: --base-backend and --candidate-backend already say what runs; leave it out")
