"""Exports: read from the command line, checked before anything is measured, written when it is done."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from attnbench.core.errors import AttnbenchError, LostOutputError, NotComparableError, OutputError, UsageError
from attnbench.core.files import written_whole
from attnbench.exports.github import Job
from attnbench.exports.results import NoiseResults, Results

GITHUB = "github"
KINDS: dict[str, dict[str, str]] = {
    "junit": {"": "junit:render"},
    GITHUB: {},
    "github-action-benchmark": {
        "": "trackers:action_benchmark_latencies",
        "-throughput": "trackers:action_benchmark_rates",
    },
    "bencher": {"": "trackers:bencher"},
    "openmetrics": {"": "openmetrics:render"},
    "json": {"": "documents:json_text"},
    "csv": {"": "documents:csv_text"},
    "markdown": {"": "documents:markdown_text"},
}
"""Every kind of export: by what is added to the name of its file, the function that renders it.

Functions are imported when they are called, so that libraries of other formats cost nothing. ``github`` has no file:
GitHub's own variables say where it goes.
"""
TABLES = ("json", "csv", "markdown")
"""The kinds that hold any table, such as that of an A/A test."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """One export that was asked for."""

    kind: str
    path: Path | None = None
    """The file to write; None for ``github`` alone."""

    @property
    def renderers(self) -> dict[Path, str]:
        """Every file that it writes, and the function that renders it."""
        if self.path is None:
            return {}
        stem, suffix = self.path.stem, self.path.suffix
        return {self.path.with_name(f"{stem}{added}{suffix}"): name for added, name in KINDS[self.kind].items()}


def parse_export(text: str, *, kinds: Collection[str] | None = None) -> Export:
    """Read ``KIND=FILE``, or ``github``.

    Args:
        text: As it was typed.
        kinds: Those that are allowed; by default all.

    Raises:
        UsageError: There is no such kind, or a file is missing, or given to ``github``.

    >>> parse_export("junit=report.xml")
    Export(kind='junit', path=PosixPath('report.xml'))
    """
    kind, _, file = text.partition("=")
    allowed = KINDS if kinds is None else kinds
    if kind not in allowed:
        near = difflib.get_close_matches(kind.lower(), allowed, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"--export {text}: {kind!r} is not a kind of export (allowed: {', '.join(allowed)}){hint}")
    if kind == GITHUB:
        if "=" in text:
            raise UsageError(f"--export {text}: github goes where GitHub's variables say; leave out ={file}")
        return Export(kind=kind)
    if not file:
        raise UsageError(f"--export {text}: no file to write; give --export {kind}=FILE")
    if file.endswith(("/", os.sep)) or not Path(file).name:
        raise UsageError(f"--export {text}: {file} is a directory; give a file in it")
    return Export(kind=kind, path=Path(file))


def check(exports: Sequence[Export]) -> None:
    """Find mistakes before hours are spent on measuring.

    Raises:
        UsageError: Two exports write one file, or ``github`` is asked for twice or outside of a GitHub job.
        OutputError: A file cannot be written where it is to lie.
    """
    if [export.kind for export in exports].count(GITHUB) > 1:
        raise UsageError("--export github is given twice; once is enough")
    taken: dict[Path, Export] = {}
    for export in exports:
        if export.kind == GITHUB:
            Job.current().check()
        for path in map(Path.resolve, export.renderers):
            if path in taken:
                raise UsageError(f"--export {export.kind} and --export {taken[path].kind} both write {path}")
            taken[path] = export
            if why := why_not_writable(path):
                raise OutputError(f"--export {export.kind}={export.path}: {path} cannot be written: {why}")


def write(exports: Sequence[Export], results: Results | NoiseResults, *, say: Callable[[str], None]) -> None:
    """Write all that was asked for, each file whole or not at all; GitHub's are appended to.

    Args:
        exports: What ``check`` accepted.
        results: What to export.
        say: Takes a line for stderr, where GitHub reads annotations.

    Raises:
        LostOutputError: Something could not be written; everything else was.
        UsageError: ``github`` was asked for outside of a GitHub job.
    """
    lost = []
    for export in exports:
        for write_part in _parts(export, results, say):
            try:
                write_part()
            except LostOutputError as error:
                lost.append(str(error))
    if lost:
        raise LostOutputError("; ".join(lost))


def write_error(exports: Sequence[Export], error: AttnbenchError, *, say: Callable[[str], None]) -> None:
    """Say in every export that can why there is nothing else, and remove what an earlier command left of the others.

    Args:
        exports: What was asked for.
        error: Why.
        say: Takes a line for stderr, where GitHub reads annotations.

    Raises:
        LostOutputError: GitHub's summary cannot be written.
    """
    from attnbench.exports import junit

    for export in exports:
        if export.path is None:
            Job.current().report_error(str(error), say=say)
        for path in export.renderers:
            with contextlib.suppress(OSError, LostOutputError):
                if export.kind == "junit":
                    write_file(path, junit.render_error(str(error), skipped=isinstance(error, NotComparableError)))
                else:
                    path.unlink(missing_ok=True)


def _parts(export: Export, results: Results | NoiseResults, say: Callable[[str], None]) -> list[Callable[[], None]]:
    if export.kind == GITHUB and not isinstance(results, NoiseResults):
        job = Job.current()
        annotate = partial(job.annotate, results, say=say)
        return [annotate, partial(job.append_summary, results), partial(job.append_outputs, results)]
    return [partial(write_file, path, _render(name, results)) for path, name in export.renderers.items()]


def _render(name: str, results: Results | NoiseResults) -> str:
    module, _, function = name.partition(":")
    return str(getattr(import_module(f"attnbench.exports.{module}"), function)(results))


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file whole, with the directories above it; what was there before goes.

    Raises:
        LostOutputError: It cannot be written; what was there before still is.
    """
    if why := why_not_writable(path):
        raise LostOutputError(f"{path} cannot be written: {why}")
    with written_whole(path.resolve()) as unfinished:  # resolved, so that a link stays a link
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        # A lone surrogate, from a file name that is not UTF-8, must not cost the whole file.
        encoded = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
        unfinished.write_bytes(encoded)


def why_not_writable(path: Path) -> str | None:
    """Why a file cannot be written, as far as its place tells; None where nothing is in the way."""
    try:
        target = path.resolve()
        if target.is_dir():
            return "it is a directory; give a file in it"
        if target.exists() and not target.is_file():
            return "it is no regular file"  # renaming a file over /dev/null would take it from every other program
        directory = next(parent for parent in target.parents if parent.exists())
        if not directory.is_dir():
            return f"{directory} is a file"
        return None if os.access(directory, os.W_OK | os.X_OK) else f"{directory} cannot be written to"
    except OSError as error:
        return error.strerror or str(error)
