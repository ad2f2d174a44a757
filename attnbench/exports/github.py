"""What a GitHub job shows besides its summary: annotations in the log, and outputs for later steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnbench.comparison.cells import worst_first
from attnbench.comparison.verdict import CellVerdict, Verdict
from attnbench.core.record import Status
from attnbench.exports.escaping import legal, one_line, shortened
from attnbench.exports.results import UNFIT, Subject
from attnbench.exports.wording import change

_MOST = 10
"""Annotations of a kind that GitHub shows of a step."""
_LONGEST_TITLE, _LONGEST_MESSAGE = 200, 2000
_ESCAPED = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_ESCAPED_IN_PROPERTIES = {**_ESCAPED, ":": "%3A", ",": "%2C"}


@dataclass(frozen=True, kw_only=True)
class _Annotation:
    title: str
    message: str


def annotate(subject: Subject) -> list[str]:
    """Workflow commands, a line each: an error for every cell that fails, a warning for every suspect.

    Of more than GitHub shows, the last one says how many there are.
    """
    if subject.comparison is None:
        return _commands("error", _of_run(subject))
    cells = worst_first(subject.comparison.cells)
    fails = f"fails from {100 * (subject.comparison.fail_above - 1):.3g} % on"
    errors = [_of_verdict(cell, fails) for cell in cells if cell.verdict.fails]
    warnings = [_of_verdict(cell, fails) for cell in cells if cell.verdict is Verdict.SUSPECT]
    return [*_commands("error", errors), *_commands("warning", warnings)]


def error(title: str, message: str) -> str:
    """A workflow command that marks the step with an error."""
    return _command("error", _Annotation(title=title, message=message))


def outputs(subject: Subject) -> str:
    """A line of ``key=value`` for every output of the step."""
    comparison = subject.comparison
    found: dict[str, str | int] = {"failed": str(subject.failed).lower(), **subject.counts}
    if comparison is not None:
        found |= {"compared": comparison.compared, "cells": len(comparison.cells)}
    else:
        found |= {"cells": sum(subject.counts.values())}
    found["summary"] = one_line(f"{subject.headline}: {subject.summary}" if comparison else subject.headline)
    return "".join(f"{key}={value}\n" for key, value in found.items())


def _of_verdict(cell: CellVerdict, fails: str) -> _Annotation:
    return _Annotation(
        title=f"{cell.verdict}: {cell.case}, {cell.backend}",
        message=f"{cell.case}, {cell.backend}: {change(cell)}" + (f"; {fails}" if cell.ratio is not None else ""),
    )


def _of_run(subject: Subject) -> list[_Annotation]:
    assert subject.run is not None
    found = [
        _Annotation(
            title=f"{row['status']}: {row['case']}, {row['backend']}",
            message=f"{row['case']}, {row['backend']}: {row['status']}: {row['reason']}",
        )
        for row in subject.run.table.to_dict("records")
        if row["status"] not in (Status.OK, *UNFIT)
    ]
    # Without a cell gone wrong it may still have failed: cut short, or nothing measured.
    return found or ([_Annotation(title=subject.suite, message=subject.summary)] if subject.failed else [])


def _commands(kind: str, found: Sequence[_Annotation]) -> list[str]:
    shown = list(found)
    if len(found) > _MOST:
        more = len(found) - _MOST + 1
        names = "; ".join(one.title for one in found[_MOST - 1 :][:_MOST])
        last = _Annotation(title=f"and {more} more", message=f"{more} more, all of them in the job's summary: {names}")
        shown = [*found[: _MOST - 1], last]
    return [_command(kind, one) for one in shown]


def _command(kind: str, one: _Annotation) -> str:
    title = shortened(legal(f"attnbench: {one.title}"), _LONGEST_TITLE)
    message = shortened(legal(one.message), _LONGEST_MESSAGE)
    return f"::{kind} title={_escaped(title, _ESCAPED_IN_PROPERTIES)}::{_escaped(message, _ESCAPED)}"


def _escaped(text: str, escapes: Mapping[str, str]) -> str:
    return "".join(escapes.get(character, character) for character in text)
