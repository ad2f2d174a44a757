"""Exports as they are asked for, checked before anything is measured, and written when it is done."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from attnbench.core.errors import LostOutputError, OutputError, UsageError
from attnbench.exports import action_benchmark, bencher, files, tables
from attnbench.exports import json_document as document
from attnbench.exports.github_job import Job
from attnbench.exports.results import Subject


class Kind(StrEnum):
    """Formats of exports."""

    JUNIT = "junit"
    GITHUB = "github"
    """Goes where GitHub's own variables say, and takes no file."""
    GITHUB_ACTION_BENCHMARK = "github-action-benchmark"
    BENCHER = "bencher"
    OPENMETRICS = "openmetrics"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


@dataclass(frozen=True, kw_only=True)
class Export:
    """One export that was asked for."""

    kind: Kind
    path: Path | None = None
    """The file to write; None for ``github`` alone."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that it writes, those of GitHub's variables left out."""
        if self.path is None:
            return ()
        if self.kind is Kind.GITHUB_ACTION_BENCHMARK:
            return self.path, self.path.with_name(f"{self.path.stem}-throughput{self.path.suffix}")
        return (self.path,)


def parse_export(text: str) -> Export:
    """Read ``KIND=FILE``, or ``github``.

    Raises:
        UsageError: There is no such kind, the file is missing or too much, or it is a directory.

    >>> parse_export("junit=report.xml")
    Export(kind=<Kind.JUNIT: 'junit'>, path=PosixPath('report.xml'))
    """
    name, _, file = text.partition("=")
    if name not in list(Kind):
        near = difflib.get_close_matches(name.lower(), list(Kind), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"--export {text}: {name!r} is not a kind of export (allowed: {', '.join(Kind)}){hint}")
    kind = Kind(name)
    if kind is Kind.GITHUB:
        if "=" in text:
            raise UsageError(f"--export {text}: github goes where GitHub's variables say; leave out ={file}")
        return Export(kind=kind)
    if not file:
        raise UsageError(f"--export {text}: no file to write; give --export {kind}=FILE")
    if file.endswith(("/", os.sep)) or files.is_directory(Path(file)):
        raise UsageError(f"--export {text}: {file} is a directory; give a file in it")
    return Export(kind=kind, path=Path(file))


def check(exports: Sequence[Export]) -> None:
    """Find out before hours are spent on measuring what would go wrong afterwards.

    Raises:
        UsageError: Two exports go to one place, or ``github`` is asked for elsewhere.
        OutputError: A file cannot be written where it is to lie.
    """
    taken: dict[Path, Export] = {}
    for export in exports:
        if export.kind is Kind.GITHUB:
            Job.current().check()
        for place in map(Path.resolve, export.paths):
            if place in taken:
                raise UsageError(f"--export {export.kind} and --export {taken[place].kind} both write {place}")
            taken[place] = export
            if why := files.obstacle(place):
                raise OutputError(f"--export {export.kind}={export.path}: {place} cannot be written: {why}")
    if sum(export.kind is Kind.GITHUB for export in exports) > 1:
        raise UsageError("--export github is given twice; once is enough")


def write(exports: Sequence[Export], subject: Subject, *, say: Callable[[str], None]) -> None:
    """Write all that was asked for. A file appears whole or not at all; those of GitHub are appended to.

    Args:
        exports: What ``check`` had nothing against.
        subject: What to render.
        say: Takes a line for stderr, where GitHub reads annotations.

    Raises:
        LostOutputError: Something could not be written; everything else was.
        UsageError: ``github`` was asked for elsewhere.
    """
    lost = []
    for export in exports:
        for put in _of_github(subject, say) if export.kind is Kind.GITHUB else _of_files(export, subject):
            try:
                put()
            except LostOutputError as error:
                lost.append(str(error))
    if lost:
        raise LostOutputError("; ".join(lost))


def _of_github(subject: Subject, say: Callable[[str], None]) -> list[Callable[[], None]]:
    job = Job.current()
    job.annotate(subject, say=say)
    return [partial(job.append_summary, subject), partial(job.append_outputs, subject)]


def _of_files(export: Export, subject: Subject) -> list[Callable[[], None]]:
    texts = [render(subject) for render in _RENDERINGS[export.kind]]
    return [partial(files.replace, path, text) for path, text in zip(export.paths, texts, strict=True)]


def _junit(subject: Subject) -> str:
    # Imported by who asks for it alone: its library takes its time.
    from attnbench.exports import junit

    return junit.render(subject)


def _openmetrics(subject: Subject) -> str:
    from attnbench.exports import openmetrics

    return openmetrics.render(subject)


_RENDERINGS: dict[Kind, tuple[Callable[[Subject], str], ...]] = {
    Kind.JUNIT: (_junit,),
    Kind.GITHUB_ACTION_BENCHMARK: (action_benchmark.latencies, action_benchmark.rates),
    Kind.BENCHER: (bencher.render,),
    Kind.OPENMETRICS: (_openmetrics,),
    Kind.JSON: (document.render,),
    Kind.CSV: (tables.csv,),
    Kind.MARKDOWN: (tables.markdown,),
}
"""What stands in every file of a kind."""
