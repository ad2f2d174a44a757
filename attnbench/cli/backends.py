"""``attnbench backends``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnbench.core.protocol import Introduced
    from attnbench.report.layout import Grid, Sheet
    from attnbench.run.crew import Crew, Participant
    from attnbench.run.session import Side
    from attnbench.suite import Suite


def backends(
    *,
    suite: Annotated[
        str | None, typer.Option(metavar="SUITE", help="Say for each of its cases which backends can compute it.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1; a suite's own wins.")
    ] = "auto",
) -> None:
    """List the backends: which are available here and which are not, and why."""
    from attnbench.backends import registry
    from attnbench.cli.output import print_sheet
    from attnbench.core.record import BackendChoice, Measure
    from attnbench.run.crew import Crew, Participant
    from attnbench.run.interpreter import this_interpreter
    from attnbench.run.session import Side
    from attnbench.suite import load_suite

    names = registry.names()
    loaded = load_suite(suite, known_backends=names) if suite else None
    crew = Crew(loaded.measure if loaded else Measure())
    try:
        if loaded is None:
            here = this_interpreter()
            choices = [BackendChoice(label=name, name=name) for name in names]
            participants = [Participant(choice=choice, interpreter=here) for choice in choices]
            print_sheet(_availability(crew, device, participants))
        else:
            print_sheet(_support(crew, loaded, Side(suite=loaded)))
    finally:
        crew.close()


def _availability(crew: Crew, device: str, participants: Sequence[Participant]) -> Sheet:
    from attnbench.report.layout import Sheet

    crew.begin_round(participants)
    environment = crew.describe(device).environment
    rows = []
    for participant in participants:
        found = crew.introduce(participant, environment.device)
        rows.append((participant.label, _state(found), found.invalid or found.unavailable or ""))
    heading = f"{environment.device_name}, {environment.device}, torch {environment.torch}"
    return Sheet(heading=heading, grids=(_grid("backends", rows),), notes=())


def _support(crew: Crew, suite: Suite, side: Side) -> Sheet:
    from attnbench.core.errors import SuiteError
    from attnbench.report.layout import Sheet
    from attnbench.run.session import describe_suite, introduce

    described = describe_suite(crew, suite)
    device = described.environment.device
    cases = suite.cases(device)
    problems = [case.problem for case in cases]
    by_case: list[list[tuple[str, str, str]]] = [[] for _ in cases]
    for index, (participant, found) in enumerate(introduce(crew, side, device).items()):
        if found.invalid:
            raise SuiteError(f"{suite.where('backends', index)}: {found.invalid}")
        if found.unavailable:
            reasons = tuple(found.unavailable for _ in problems)
        else:
            reasons = crew.explain(participant, problems)
        for rows, reason in zip(by_case, reasons, strict=True):
            state = _state(found) if found.unavailable else "unsupported" if reason else "supported"
            rows.append((participant.label, state, reason))
    grids = tuple(
        _grid(case.name, rows, subtitle=case.problem.label) for case, rows in zip(cases, by_case, strict=True)
    )
    heading = f"{suite.name} on {described.environment.device_name}, {device}"
    return Sheet(heading=heading, grids=grids, notes=())


def _state(found: Introduced) -> str:
    if found.invalid:
        return "broken"
    return "unavailable" if found.unavailable else "available"


def _grid(title: str, rows: Sequence[tuple[str, str, str]], subtitle: str = "") -> Grid:
    from attnbench.report.layout import Column, Grid

    names, states, reasons = (tuple(texts) for texts in zip(*rows, strict=True))
    return Grid(
        title=title,
        subtitle=subtitle,
        columns=(
            Column(header="backend", cells=names, numeric=False),
            Column(header="here", cells=states, numeric=False),
            Column(header="why not", cells=reasons, numeric=False, wraps=True),
        ),
    )
