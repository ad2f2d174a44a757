"""The figures of ``verify`` as a sheet of one screen."""

from __future__ import annotations

import math

from attnbench.core.verification import Answer, Figure
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.verify.checks import CHECKS, Verification

_SMALL = 1e-3
_BUSY = 1.0


def verify_table(found: Verification) -> Sheet:
    """Lay out every figure with its limits, and what the failures mean."""
    figures = [figure for _, some in found.by_check() for figure in some]
    columns: dict[str, list[str]] = {
        "": [figure.answer for figure in figures],
        "check": [figure.check for figure in figures],
        "of": [figure.of for figure in figures],
        "figure": [_value(figure) for figure in figures],
        "limit": [_limit(figure) for figure in figures],
        "what it is": [figure.absent or CHECKS[figure.check].figure for figure in figures],
    }
    grid = Grid(
        title=found.headline,
        columns=tuple(
            Column(header=header, cells=tuple(cells), numeric=header == "figure", wraps=header in ("of", "what it is"))
            for header, cells in columns.items()
        ),
    )
    heading = f"{found.device_name} ({found.device}), torch {found.torch}, {found.elapsed_s:.0f} s"
    return Sheet(heading=heading, grids=(grid,), notes=tuple(_notes(found)))


def _notes(found: Verification) -> list[str]:
    notes = []
    if found.failed and found.load > _BUSY:
        notes.append(
            f"The machine was busy when this began: {found.load:.1f} processes a core. Clocks, ceilings and the A/B "
            "are judged best on a quiet one: attnbench doctor finds what disturbs it."
        )
    for check, figures in found.by_check():
        failed = [figure for figure in figures if figure.answer is Answer.FAIL]
        if failed:
            why = "; ".join(dict.fromkeys(figure.broken for figure in failed if figure.broken))
            notes.append(f"{failed[0].check} failed: {check.failure}.{why and f' Seen: {why}.'}")
    return notes


def _value(figure: Figure) -> str:
    return "-" if figure.value is None else _number(figure.value)


def _limit(figure: Figure) -> str:
    if figure.absent:
        return "-"
    if math.isinf(figure.most):
        return f">= {_number(figure.least)}"
    if not figure.least:
        return f"<= {_number(figure.most)}"
    return f"{_number(figure.least)} to {_number(figure.most)}"


def _number(value: float) -> str:
    if value and abs(value) < _SMALL:
        return f"{value:.0e}"
    return f"{value:g}" if value == round(value) else f"{value:.3f}"
