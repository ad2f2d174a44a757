"""``attnbench backends``."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnbench.report.layout import Grid, Sheet
    from attnbench.run.process_pool import ProcessPool
    from attnbench.suite.expansion import Suite


def backends(
    *,
    suite: Annotated[
        str | None, typer.Option(metavar="SUITE", help="For each of its cases, list which backends support it.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1; a suite's own takes precedence.")
    ] = "auto",
) -> None:
    """List the backends: which are available here and which are not, and why."""
    from attnbench.backends import registry
    from attnbench.cli.output import print_sheet
    from attnbench.core.record import Measure
    from attnbench.run.process_pool import ProcessPool
    from attnbench.suite.expansion import load_suite

    loaded = load_suite(suite, known_backends=registry.names()) if suite else None
    with closing(ProcessPool(loaded.measure if loaded else Measure())) as pool:
        sheet = _supported(pool, loaded) if loaded else _available(pool, device, registry.names())
    print_sheet(sheet)


def _available(pool: ProcessPool, device: str, names: Sequence[str]) -> Sheet:
    from attnbench.core.record import BackendChoice
    from attnbench.report.layout import Sheet
    from attnbench.run.interpreter import this_interpreter
    from attnbench.run.process_pool import Participant

    here = this_interpreter()
    participants = [Participant(choice=BackendChoice(label=name, name=name), interpreter=here) for name in names]
    pool.begin_round(participants)
    environment = pool.describe(device).environment
    rows = []
    for participant in participants:
        found = pool.introduce(participant, environment.device)
        state = "broken" if found.invalid else "unavailable" if found.unavailable else "available"
        rows.append((participant.label, state, found.invalid or found.unavailable or ""))
    heading = f"{environment.device_name}, {environment.device}, torch {environment.torch}"
    return Sheet(heading=heading, grids=(_grid("backends", "", rows),), notes=())


def _supported(pool: ProcessPool, suite: Suite) -> Sheet:
    from attnbench.core.errors import SuiteError
    from attnbench.report.layout import Sheet
    from attnbench.run.sides import Side, describe_suite, introduce

    environment = describe_suite(pool, suite).environment
    cases = suite.cases(environment.device)
    problems = [case.problem for case in cases]
    rows: list[list[tuple[str, str, str]]] = [[] for _ in cases]
    for index, (participant, found) in enumerate(introduce(pool, Side(suite=suite), environment.device).items()):
        if found.invalid:
            raise SuiteError(f"{suite.where('backends', index)}: {found.invalid}")
        reasons = [found.unavailable] * len(cases) if found.unavailable else pool.explain(participant, problems)
        for row, reason in zip(rows, reasons, strict=True):
            state = "unavailable" if found.unavailable else "unsupported" if reason else "supported"
            row.append((participant.label, state, reason))
    grids = tuple(_grid(case.name, case.problem.label, row) for case, row in zip(cases, rows, strict=True))
    heading = f"{suite.name} on {environment.device_name}, {environment.device}"
    return Sheet(heading=heading, grids=grids, notes=())


def _grid(title: str, subtitle: str, rows: Sequence[tuple[str, str, str]]) -> Grid:
    from attnbench.report.layout import Column, Grid

    columns = tuple(
        Column(header=header, cells=tuple(texts), numeric=False, wraps=header == "why not")
        for header, texts in zip(("backend", "here", "why not"), zip(*rows, strict=True), strict=True)
    )
    return Grid(title=title, subtitle=subtitle, columns=columns)
