"""Named baselines: the tables of runs, by name and fingerprint, in a directory for git or a CI cache.

Every entry is a directory of its own that appears whole, so that several jobs may save at once::

    DIR/NAME/MACHINE-FINGERPRINT/TIME-ID/   table.csv, environment.json, suite.yaml
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from attnbench.core.errors import LostOutputError, NotComparableError, OutputError, StoredRunError, UsageError
from attnbench.core.files import rename_directory
from attnbench.core.record import Status
from attnbench.results.journal import ENVIRONMENT, SUITE
from attnbench.results.places import CSV, UNFINISHED, read_suite
from attnbench.results.spreadsheet import csv_text
from attnbench.results.store import FoundRuns, StoredRun, find_runs

DIRECTORY = Path("baselines")
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The entries of one name, one fingerprint and one suite."""

    name: str
    place: str
    """The directory of the fingerprint."""
    suite: str
    runs: int
    oldest: str
    """UTC, ISO 8601."""
    newest: str
    torch: str
    """Of the newest."""


def save(run: StoredRun, directory: Path, name: str, *, keep: int) -> tuple[Path, bool]:
    """Save a run in a named baseline.

    Args:
        run: The run.
        directory: The directory of baselines.
        name: The baseline.
        keep: Runs to keep of one suite and fingerprint; the oldest are removed.

    Returns:
        The entry's directory, and whether it was saved before.

    Raises:
        UsageError: The name cannot name a directory, or the run cannot serve as a base.
        OutputError: The directory cannot be written.
        LostOutputError: The disk is full.
    """
    _check_name(name)
    _check_run(run)
    content = csv_text(run.table).encode()
    started = re.sub(r"[^0-9T]", "", str(run.environment["started_at"]).partition("+")[0])
    place = directory / name / _place(run.environment)
    entry = place / f"{started}-{crc32(content):08x}"
    if entry.exists():
        return entry, True
    try:
        _write(run, content, entry)
    except OSError as error:
        lost = LostOutputError if error.errno == errno.ENOSPC else OutputError
        raise lost(f"{directory} cannot be written: {error.strerror}; give another --directory") from None
    _forget(place, but=entry, suite=_suite(run), keep=keep)
    return entry, False


def _write(run: StoredRun, content: bytes, entry: Path) -> None:
    """Write an entry beside its place, then rename it into it."""
    unfinished = _unfinished(entry)
    try:
        unfinished.mkdir(parents=True)
        (unfinished / CSV).write_bytes(content)
        (unfinished / ENVIRONMENT).write_text(json.dumps(run.environment, indent=2) + "\n", encoding="utf-8")
        shutil.copyfile((run.path if run.path.is_dir() else run.path.parent) / SUITE, unfinished / SUITE)
        try:
            rename_directory(unfinished, entry, last=CSV)
        except OSError:
            if not entry.exists():  # else another job saved the same
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}-{secrets.token_hex(4)}{UNFINISHED}")


def existing(directory: Path, name: str) -> Path:
    """The directory of a baseline.

    Raises:
        UsageError: It cannot be a baseline's name.
        NotComparableError: There is no such baseline yet.
    """
    _check_name(name)
    if not (directory / name).is_dir():
        known = ", ".join(sorted(path.name for path in directory.glob("*") if path.is_dir()))
        raise NotComparableError(
            f"there is no baseline {name} in {directory} (there: {known or 'none'}); attnbench baseline save makes one"
        )
    return directory / name


def history(directory: Path, name: str) -> FoundRuns:
    """The entries of a baseline.

    Raises:
        StoredRunError: None of them can be read.
        UsageError: It cannot be a baseline's name.
        NotComparableError: There is no such baseline yet.
    """
    place = existing(directory, name)
    return find_runs(place) if any(place.glob(f"*/*/{CSV}")) else FoundRuns(runs=())


def entries(directory: Path) -> list[Baseline]:
    """What a directory of baselines holds, by name.

    Raises:
        UsageError: It does not exist.
        StoredRunError: An entry is damaged.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory that exists; attnbench baseline save makes one")
    groups: dict[tuple[str, str, str], list[StoredRun]] = {}
    for name in sorted(path for path in directory.iterdir() if path.is_dir()):
        found = history(directory, name.name)
        if found.errors:
            raise found.errors[0]
        for run in found.runs:
            groups.setdefault((name.name, run.path.parent.name, _suite(run)), []).append(run)
    return [
        Baseline(
            name=name,
            place=place,
            suite=suite,
            runs=len(runs),
            oldest=runs[0].started_at,
            newest=runs[-1].started_at,
            torch=str(runs[-1].environment.get("torch", "")),
        )
        for (name, place, suite), runs in sorted(groups.items())
    ]


def _forget(place: Path, *, but: Path, suite: str, keep: int) -> None:
    """Remove the oldest entries of a suite, never the one that was saved just now."""
    entries_of_suite = []
    for file in place.glob(f"*/{SUITE}"):
        with contextlib.suppress(StoredRunError, OSError):  # damaged, or gone: not ours to judge here
            if not file.parent.name.endswith(UNFINISHED) and read_suite(file.parent).get("name", "") == suite:
                entries_of_suite.append(file.parent)
    oldest = [entry for entry in sorted(entries_of_suite) if entry != but]  # their names begin with the time
    for entry in oldest[: max(0, len(oldest) + 1 - keep)]:
        going = _unfinished(entry)
        with contextlib.suppress(OSError):  # another job was faster
            entry.rename(going)
            shutil.rmtree(going)


def _check_name(name: str) -> None:
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"--name {name!r}: not a name (allowed: letters, digits, '_', '-' and '.': it names a directory)"
        )


def _check_run(run: StoredRun) -> None:
    if not run.environment or not run.suite:
        lacks = SUITE if run.environment else ENVIRONMENT
        raise UsageError(
            f"{run.path} has no {lacks}: nobody could tell what may be compared with it; give a run directory"
        )
    if Status.OK not in set(run.table["status"]):
        raise UsageError(f"{run.path} holds no latency; a baseline is a run that was measured")
    if run.incomplete:
        raise UsageError(
            f"{run.path} is incomplete: {run.incomplete}; resume it with attnbench run SUITE --resume {run.path}"
        )


def _place(environment: Mapping[str, Any]) -> str:
    spelled = json.dumps(environment["fingerprint"], sort_keys=True).encode()
    return f"{environment['machine']}-{crc32(spelled):08x}"


def _suite(run: StoredRun) -> str:
    return str(run.suite.get("name", ""))
