"""``attnbench backends``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnbench.execution.messages import BackendAnswer
    from attnbench.execution.supervisor import Supervisor
    from attnbench.record import Measure
    from attnbench.report.sheet import Grid, Sheet
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
    from attnbench.cli.page import print_sheet
    from attnbench.execution.supervisor import Supervisor
    from attnbench.record import Measure
    from attnbench.suite import load_suite

    names = registry.names()
    loaded = load_suite(suite, known_backends=names) if suite else None
    supervisor = Supervisor(threads=1)
    try:
        if loaded is None:
            print_sheet(_availability(supervisor, device, names, Measure()))
        else:
            print_sheet(_support(supervisor, loaded))
    finally:
        supervisor.close()


def _availability(supervisor: Supervisor, device: str, names: list[str], measure: Measure) -> Sheet:
    from attnbench.report.sheet import Sheet

    described = supervisor.describe(device=device, backends=names, measure=measure)
    rows = [(answer.name, _state(answer), answer.invalid or answer.unavailable or "") for answer in described.backends]
    environment = described.environment
    heading = f"{environment.device_name}, {environment.device}, torch {environment.torch}"
    return Sheet(heading=heading, grids=(_grid("backends", rows),), notes=())


def _support(supervisor: Supervisor, suite: Suite) -> Sheet:
    from attnbench.execution.runner import describe_suite
    from attnbench.report.sheet import Sheet

    described = describe_suite(supervisor, suite)
    device = described.environment.device
    cases = suite.cases(device)
    problems = [case.problem for case in cases]
    by_case: list[list[tuple[str, str, str]]] = [[] for _ in cases]
    for answer in described.backends:
        if answer.unavailable:
            reasons = tuple(answer.unavailable for _ in problems)
        else:
            reasons = supervisor.explain(answer.name, problems, device_type=device.partition(":")[0])
        for rows, reason in zip(by_case, reasons, strict=True):
            state = _state(answer) if answer.unavailable else "unsupported" if reason else "supported"
            rows.append((answer.name, state, reason))
    grids = tuple(
        _grid(case.name, rows, subtitle=case.problem.label) for case, rows in zip(cases, by_case, strict=True)
    )
    heading = f"{suite.name} on {described.environment.device_name}, {device}"
    return Sheet(heading=heading, grids=grids, notes=())


def _state(answer: BackendAnswer) -> str:
    if answer.invalid:
        return "broken"
    return "unavailable" if answer.unavailable else "available"


def _grid(title: str, rows: Sequence[tuple[str, str, str]], subtitle: str = "") -> Grid:
    from attnbench.report.sheet import Column, Grid

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
