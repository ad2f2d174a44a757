"""A GitHub job: annotations in its log, and the summary and the outputs of its step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnbench.comparison.definitions import CellVerdict, Verdict
from attnbench.core import escaping
from attnbench.core.errors import LostOutputError, OutputError, UsageError
from attnbench.exports import summary
from attnbench.exports.places import CodePlace, place_of
from attnbench.exports.results import ComparisonResults, Results, RunResults
from attnbench.exports.text import change
from attnbench.results.rows import rows_of

_SUMMARY, _OUTPUTS, _ACTIONS = "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_ACTIONS"
_MOST_ANNOTATIONS = 10
"""Of one kind: GitHub does not show more of a step."""
_LONGEST_TITLE, _LONGEST_MESSAGE = 200, 2000
Say = Callable[[str], None]
"""Takes a line for stderr, where GitHub reads annotations."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the running step has; a part whose variable is not set is left out."""

    summary: Path | None
    outputs: Path | None
    annotates: bool

    @classmethod
    def current(cls) -> Job:
        """The job that this process is part of.

        Raises:
            UsageError: It is not part of a GitHub job.
        """
        summary, outputs = (Path(value) if (value := os.environ.get(name)) else None for name in (_SUMMARY, _OUTPUTS))
        annotates = os.environ.get(_ACTIONS) == "true"
        if summary is None and outputs is None and not annotates:
            raise UsageError(
                f"--export github: not a job on GitHub; it needs {_SUMMARY}, {_OUTPUTS} or {_ACTIONS} to be set"
            )
        return cls(summary=summary, outputs=outputs, annotates=annotates)

    def check(self) -> None:
        """See that the files can be appended to.

        Raises:
            OutputError: One cannot.
        """
        for name, path in ((_SUMMARY, self.summary), (_OUTPUTS, self.outputs)):
            try:
                if path is not None:
                    _append(path, "")
            except LostOutputError as error:
                raise OutputError(f"--export github: {name}: {error}") from None

    def annotate(self, results: Results, *, say: Say) -> None:
        """Say a line per annotation, where a runner reads them."""
        if self.annotates:
            for line in workflow_commands(results):
                say(line)

    def append_summary(self, results: Results) -> None:
        """Append as much to the step's summary as it has room for.

        Raises:
            LostOutputError: It has none, or the file cannot be written.
        """
        if self.summary is None:
            return
        taken_bytes = self.summary.stat().st_size if self.summary.exists() else 0
        text = summary.render(results, room_bytes=summary.CAP_BYTES - taken_bytes - len("\n\n"))
        if not text:
            raise LostOutputError(f"{self.summary} is full: GitHub takes {summary.CAP_BYTES // 1024} KiB of a step")
        _append(self.summary, f"\n{text}" if taken_bytes else text)

    def append_outputs(self, results: Results) -> None:
        """Append to the step's outputs.

        Raises:
            LostOutputError: The file cannot be written.
        """
        if self.outputs is not None:
            _append(self.outputs, outputs(results))

    def report_error(self, sentence: str, *, say: Say) -> None:
        """Say in log and summary why there is no comparison.

        Raises:
            LostOutputError: The summary cannot be written.
        """
        if self.annotates:
            say(_command("error", _Annotation(title="not judged", message=sentence)))
        if self.summary is not None:
            text = f"\n**NOT JUDGED: {escaping.markdown(sentence)}**\n"
            taken_bytes = self.summary.stat().st_size if self.summary.exists() else 0
            if taken_bytes + len(text.encode()) <= summary.CAP_BYTES:  # else GitHub would drop all of it
                _append(self.summary, text)


def workflow_commands(results: Results) -> list[str]:
    """Annotations as a runner reads them, a line each: an error per cell that fails, a warning per suspect.

    Where GitHub would not show all of a kind, the last one says how many there are.
    """
    match results:
        case RunResults():
            return _commands("error", list(_of_run(results)))
        case ComparisonResults(comparison=comparison):
            errors = [_of_verdict(cell) for cell in comparison.cells if comparison.fails(cell)]
            warnings = [
                _of_verdict(cell)
                for cell in comparison.cells
                if not comparison.fails(cell) and (cell.verdict is Verdict.SUSPECT or cell.verdict.fails)
            ]
            return [*_commands("error", errors), *_commands("warning", warnings)]


def outputs(results: Results) -> str:
    """The step's outputs, a line of ``key=value`` each."""
    found: dict[str, str | int] = {"failed": str(results.failed).lower(), **results.counts}
    match results:
        case RunResults(run=run):
            found |= {"cells": len(run.table), "summary": results.headline}
        case ComparisonResults(comparison=comparison):
            found |= {"compared": comparison.compared, "cells": len(comparison.cells)}
            found["summary"] = f"{results.headline}: {results.summary}"
    return "".join(f"{key}={escaping.one_line(str(value))}\n" for key, value in found.items())


@dataclass(frozen=True, kw_only=True)
class _Annotation:
    title: str
    message: str
    place: CodePlace | None = None


def _of_run(results: RunResults) -> Iterator[_Annotation]:
    table = results.run.table
    wrong = table[table["status"].isin(list(results.defects))]
    for row in rows_of(wrong):
        cell = f"{row['case']}, {row['backend']}"
        yield _Annotation(
            title=f"{row['status']}: {cell}",
            message=f"{cell}: {row['status']}: {row['reason']}",
            place=place_of(row["reason"]),
        )
    if wrong.empty and results.failed:  # interrupted, or nothing measured
        yield _Annotation(title=results.suite, message=results.summary)


def _of_verdict(cell: CellVerdict) -> _Annotation:
    name, flaky = f"{cell.case}, {cell.backend}", ", flaky" if cell.flaky else ""
    message = "; ".join(filter(None, (f"{name}: {change(cell)}", cell.limit)))
    return _Annotation(title=f"{cell.verdict}{flaky}: {name}", message=message, place=place_of(cell.reason))


def _commands(kind: str, found: Sequence[_Annotation]) -> list[str]:
    shown = list(found)
    if len(found) > _MOST_ANNOTATIONS:
        shown, hidden = shown[: _MOST_ANNOTATIONS - 1], shown[_MOST_ANNOTATIONS - 1 :]
        titles = "; ".join(one.title for one in hidden[:_MOST_ANNOTATIONS])
        message = f"{len(hidden)} more, all of them in the job's summary: {titles}"
        shown.append(_Annotation(title=f"and {len(hidden)} more", message=message))
    return [_command(kind, one) for one in shown]


def _command(kind: str, one: _Annotation) -> str:
    title = escaping.github_property(escaping.shortened(f"attnbench: {one.title}", _LONGEST_TITLE))
    message = escaping.github_message(escaping.shortened(one.message, _LONGEST_MESSAGE))
    place = f"file={escaping.github_property(one.place.file)},line={one.place.line}," if one.place else ""
    return f"::{kind} {place}title={title}::{message}"


def _append(path: Path, text: str) -> None:
    """Append lines to a file; with no text, only find out whether that is possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if text and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
                text = f"\n{text}"
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise LostOutputError(f"{path} cannot be written: {error.strerror or error}") from None
